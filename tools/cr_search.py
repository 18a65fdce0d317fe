"""Search a trained CR-NAS supernet, for stages or for dilations, and write the pattern file.

Scores architectures by AP on held-out images, the config's val_dataloader. Every score goes into
a journal: a search that was stopped goes on where it was when the same command is given again.
"""

import argparse
from pathlib import Path

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mmic.analysis.cost import (
    KEY,
    duration,
    network_cost,
    network_words,
    saved_cost,
    search_words,
)
from mmic.checkpoint import read_checkpoint, state_dict_of
from mmic.engine.arguments import whole
from mmic.engine.command_line import run
from mmic.engine.config import add_checkpoint_arguments, add_runner_arguments, read_config
from mmic.engine.config_errors import config_errors
from mmic.engine.options import option_told
from mmic.engine.path_result import eligible_stages, result_pattern, sample_stages
from mmic.engine.path_score import build_score
from mmic.engine.path_search import (
    journal_header,
    load_supernet,
    open_journal,
    rank_operations,
    rank_stages,
    supernet_backbone,
    supernet_of_config,
)
from mmic.engine.recalibrate import fitted_norms
from mmic.engine.search_cost import TIMED, image_shape
from mmic.engine.tables import print_table
from mmic.files import check_outputs
from mmic.search.cr_archs import split_codes
from mmic.search.cr_nas import greedy_calls
from mmic.supernet.paths import choice_modules, default_path

SHOWN = 10


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'kind',
        choices=['stage', 'operation'],
        help='stage: how many blocks each stage gets; operation: which dilation each block gets',
    )
    add_runner_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the trained supernet')
    parser.add_argument('--out', required=True, metavar='FILE', help='pattern file to write')
    parser.add_argument(
        '--journal',
        metavar='FILE',
        help='scores so far, continued if it exists; default: OUT with the suffix .journal.jsonl',
    )
    parser.add_argument(
        '--num-blocks',
        type=whole(1),
        metavar='N',
        help='stage search: blocks of the network; one supernet serves 16 (depth 50) and 33 '
        "(depth 101); default: the baseline's",
    )
    parser.add_argument(
        '--sample',
        type=whole(1),
        metavar='N',
        help='stage search: score N of the stage codes, drawn at random; default: all of them',
    )
    parser.add_argument(
        '--k', type=whole(1), help='operation search: prefixes kept after each block; default: 3'
    )
    parser.add_argument(
        '--batches',
        type=whole(1),
        metavar='C',
        help='operation search: mini-batches that the images are dealt into, each with other '
        "random dilations for the blocks still to choose; default: the loader's",
    )
    parser.add_argument(
        '--max-images',
        type=whole(1),
        metavar='N',
        help='score on N held-out images, drawn at random; default: all',
    )
    parser.add_argument(
        '--bn-recalibrate',
        type=int,
        default=0,
        metavar='N',
        help='before a path is scored, average its batch normalisation statistics over N batches '
        'of train_dataloader; default: 0, the statistics of the supernet (the paper is silent)',
    )
    parser.add_argument(
        '--metric',
        metavar='NAME',
        help='score among those of val_evaluator; default: coco/bbox_mAP, or accuracy/top1',
    )
    parser.add_argument(
        '--base-channels',
        type=whole(1),
        metavar='N',
        help="width of the network that the pattern is for; default: twice the supernet's, as in "
        'the paper',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of all draws; default: 0')
    add_checkpoint_arguments(parser)
    args = parser.parse_args()
    if args.kind == 'stage' and (args.k is not None or args.batches is not None):
        parser.error('--k and --batches go with the operation search')
    if args.kind == 'operation' and args.sample is not None:
        parser.error('--sample goes with the stage search')
    if args.kind == 'operation' and args.num_blocks is not None:
        parser.error('--num-blocks goes with the stage search; the operation search keeps stages')
    for name, value in (('--bn-recalibrate', args.bn_recalibrate), ('--seed', args.seed)):
        if value < 0:
            parser.error(f'{name} must be 0 or more, got {value}')
    args.k = 3 if args.k is None else args.k
    args.journal = args.journal or str(Path(args.out).with_suffix('.journal.jsonl'))
    if Path(args.journal).resolve() == Path(args.out).resolve():
        parser.error(f'--journal and --out name the same file, {args.out}')
    return args


def progress_bar(console, journal):
    """A progress bar, and the function that moves it, which a search calls.

    Args:
        console (rich.console.Console): Where to draw it, and to say after the first evaluations
            how long the search takes.
        journal (Journal): Evaluations that it holds by now are no measure of speed.
    """
    telling, known, timed = True, len(journal.scores), len(journal.seconds)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    # One evaluation may take longer than the half minute that rich looks back by default.
    progress = Progress(
        *columns, TimeRemainingColumn(), console=console, speed_estimate_period=float('inf')
    )
    task = progress.add_task('Evaluations', total=None)

    def advance(done, total):
        if done <= known:
            progress.reset(task, completed=done, total=total)
        else:
            progress.update(task, completed=done, total=total)
        nonlocal telling
        measured = list(journal.seconds.values())[timed:]
        if telling and len(measured) == TIMED:
            telling = False
            seconds = sum(measured) / TIMED
            console.print(
                f'Search cost: {seconds:.3f} s an evaluation, mean of {TIMED}; all {total} take '
                f'{duration(seconds * total)}'
            )

    return progress, advance


def ranking_table(ranking, kind, backbone):
    """Table of the best architectures."""
    table = Table(title='Best architectures')
    table.add_column('rank', justify='right')
    table.add_column('stage_blocks' if kind == 'stage' else 'dilations, by stage', no_wrap=True)
    table.add_column('score', justify='right')
    for rank, (path, score) in enumerate(ranking[:SHOWN], 1):
        stages = [path] if kind == 'stage' else split_codes(backbone.stage_blocks, path)
        shown = ' | '.join(' '.join(map(str, stage)) for stage in stages)
        table.add_row(str(rank), shown, f'{score:.4f}')
    return table


def main():
    args = parse_args()
    inputs = [args.config, args.checkpoint]
    check_outputs([args.out], [*inputs, args.journal], args.overwrite)
    # The scores of an earlier run are kept, and more added to them.
    check_outputs([args.journal], inputs, overwrite=True)
    cfg = read_config(args)
    with config_errors(args.config):
        model = supernet_of_config(cfg)
    # Names of files and layers are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False, quiet=not is_main_process())
    backbone = supernet_backbone(model, args.kind)
    candidates = None
    # Whatever is impossible is refused before anything is scored.
    if args.kind == 'stage':
        candidates = sample_stages(
            eligible_stages(backbone, args.num_blocks), args.sample, args.seed
        )
        total = len(candidates)
    else:
        total = greedy_calls(len(choice_modules(backbone)), k=args.k)
    result_pattern(cfg.model.backbone, backbone, default_path(backbone), args.base_channels)
    console.print(f'Reading {args.checkpoint}')
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    state = state_dict_of(checkpoint, args.checkpoint, model)
    load_supernet(model, state, args.checkpoint)
    score = build_score(
        model,
        cfg,
        args.bn_recalibrate,
        args.seed,
        num_batches=args.batches,
        max_images=args.max_images,
        metric=args.metric,
    )
    if not args.bn_recalibrate and fitted_norms(model):
        console.print('Note:', style='yellow', end=' ')
        console.print(
            "the supernet's batch normalisation statistics are of all paths it was trained on, "
            'mixed; the paper does not say whether to fit them to each path, as '
            '--bn-recalibrate does.'
        )
    options = dict(seed=args.seed, bn_recalibrate=args.bn_recalibrate, metric=args.metric)
    header = journal_header(args.kind, cfg, args.checkpoint, score, **options)
    journal = open_journal(args.journal, header)
    console.print(f'{len(journal.scores)} evaluations are known from {args.journal}')
    console.print(
        f'The search has {total} evaluations of {score.num_images} images in '
        f'{score.num_batches} mini-batches'
    )
    batch = dict(inputs=[score.dataset[0]['inputs']])
    cost = network_cost(model, cfg.model, image_shape(model, batch))
    console.print(f'Search cost: the supernet has {network_words(cost)}')
    progress, advance = progress_bar(console, journal)
    with progress:
        if args.kind == 'stage':
            ranking = rank_stages(candidates, score, journal, advance)
        else:
            ranking = rank_operations(backbone, args.k, args.seed, score, journal, advance)
    print_table(console, ranking_table(ranking, args.kind, backbone))
    training, seconds = saved_cost(checkpoint), sum(journal.seconds.values())
    console.print(search_words(f'the {args.kind} search', seconds, training))
    winner, best = ranking[0]
    meta = dict(
        kind=args.kind,
        score=best,
        sample=args.sample,
        config=args.config,
        checkpoint=args.checkpoint,
        images=score.num_images,
        batches=score.num_batches,
        **options,
        **{KEY: dict(cost, seconds=round(seconds, 3), training=training)},
        best=[dict(architecture=path, score=value) for path, value in ranking[:SHOWN]],
    )
    pattern = result_pattern(cfg.model.backbone, backbone, winner, args.base_channels, meta)
    if not is_main_process():
        return
    pattern.save(args.out, args.overwrite)
    console.print(f'Wrote {args.out}')
    use = option_told('model.backbone.pattern', args.out)
    if args.kind == 'stage':
        use, config = f'model.backbone.arch=None {use}', "the operation supernet's config"
    else:
        config = "the searched network's config"
    console.print(f'Use it: pass\n  --cfg-options {use}\nto tools/train.py with {config}.')


if __name__ == '__main__':
    run(main)
