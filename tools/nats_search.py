"""Decode the alpha of a trained NATS supernet and write the pattern file.

Reads the checkpoint alone: no data set and no GPU are needed.
"""

import argparse
import time
from pathlib import Path

from rich.console import Console

from mmic.analysis.cost import KEY, saved_cost, search_words
from mmic.analysis.show import pattern_table, plot_pattern
from mmic.checkpoint import read_checkpoint, state_dict_of
from mmic.engine.command_line import run
from mmic.engine.config import add_search_arguments, build_model, read_config
from mmic.engine.options import option_told
from mmic.engine.tables import print_table
from mmic.files import check_outputs, write_file
from mmic.search.checkpoint import common_scope, read_alphas, supernet_convs
from mmic.search.layout import LAYOUTS
from mmic.search.nats import search_network
from mmic.supernet import MixedConv2d

# Above this share of the largest entropy a layer has decided next to nothing.
UNDECIDED = 0.95


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add_search_arguments(parser)
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        default='sorted',
        help="sorted: a dilation's channels together, as the paper's Eq. 6 concatenates them; "
        'position: every channel group where it was found; default: sorted',
    )
    parser.add_argument(
        '--plot', metavar='FILE', help='heat map to draw; default: OUT with the suffix .png'
    )
    args = parser.parse_args()
    args.plot = args.plot or str(Path(args.out).with_suffix('.png'))
    if args.plot == args.out:
        parser.error(f'--out {args.out} has the suffix of a picture; name a .json file')
    return args


def warn_undecided(reports, console):
    """Name the layers whose alpha is close to where it started."""
    names = [report.name for report in reports if report.entropy > UNDECIDED]
    if names:
        console.print('Warning:', style='yellow', end=' ')
        console.print(
            f'{len(names)} of {len(reports)} layers have decided next to nothing (entropy above '
            f'{UNDECIDED} of its maximum): {", ".join(names)}. Alpha does not move in the first '
            'freeze_epochs of a search; where all candidates are still equal the first genotype '
            'is taken. Search longer, or raise optim_wrapper.alpha_optimizer.lr.'
        )


def main():
    args = parse_args()
    # Names of files and layers are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False)
    check_outputs([args.out, args.plot], [args.config, args.checkpoint], args.overwrite)
    cfg = read_config(args)
    console.print(f'Building the supernet of {args.config}')
    model = build_model(cfg, args.config)
    convs = supernet_convs(model, MixedConv2d, args.scope or '')
    scope = common_scope(convs) if args.scope is None else args.scope
    console.print(f'Reading {args.checkpoint}')
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    state = state_dict_of(checkpoint, args.checkpoint, model)
    alphas = read_alphas(convs, state, args.checkpoint)
    meta = {'config': args.config, 'checkpoint': args.checkpoint}
    training, start = saved_cost(checkpoint), time.perf_counter()
    pattern, reports = search_network(model, args.layout, scope, meta, alphas)
    seconds = time.perf_counter() - start
    pattern.meta[KEY] = {'seconds': round(seconds, 3), 'training': training}
    entropy = {report.name: f'{report.entropy:.3f}' for report in reports}
    print_table(console, pattern_table(pattern, entropy=entropy))
    warn_undecided(reports, console)
    console.print(search_words('decoding', seconds, training))
    pattern.save(args.out, args.overwrite)
    pattern.source = args.out
    console.print(f'Wrote {args.out}')
    write_file(args.plot, lambda name: plot_pattern(pattern, name), args.overwrite)
    console.print(f'Wrote {args.plot}')
    use = option_told(f'model.{scope or "backbone"}.pattern', args.out)
    console.print(
        f"Use it: in the supernet's config replace genotypes and the groups by "
        f'pattern={args.out!r}, or pass\n'
        f'  --cfg-options {use}\n'
        "to tools/train.py with the searched network's config."
    )


if __name__ == '__main__':
    run(main)
