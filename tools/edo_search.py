"""Choose the dilations of a trained supernet (EDO) and write the pattern file.

Reads the checkpoint's weights alone: no data set and no GPU are needed, except with --statistics.
"""

import argparse
import shlex
import time

import torch
from rich.console import Console
from rich.progress import Progress

from mmic.analysis.cost import KEY, saved_cost, search_words
from mmic.analysis.show import pattern_table
from mmic.checkpoint import load_strictly, read_checkpoint, state_dict_of
from mmic.engine.command_line import run
from mmic.engine.config import add_search_arguments, build_model, read_config
from mmic.engine.options import option_told
from mmic.engine.statistics import measure_input_means
from mmic.engine.tables import print_table
from mmic.files import check_outputs, write_file
from mmic.search.checkpoint import (
    common_scope,
    load_wide_weights,
    searched_weights,
    supernet_convs,
)
from mmic.search.edo import search_network, searched_layers
from mmic.search.layout import LAYOUTS
from mmic.search.response import SPACES
from mmic.supernet import WideConv2d

# Above this p-value of the chi-square test a layer's choice passes for a uniform draw.
UNIFORM = 0.01


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add_search_arguments(parser)
    parser.add_argument(
        '--space',
        choices=SPACES,
        default='full',
        help='full: any (d_h, d_w) per output channel; 1d: d_h = d_w; layer: one pair per layer '
        '(paper, Table 9); default: full',
    )
    parser.add_argument(
        '--layout',
        choices=LAYOUTS,
        help="sorted: a dilation's channels together, as in the paper; position: every channel "
        'where it was found, needed to inherit weights; default: sorted, position with '
        '--init-weights',
    )
    parser.add_argument(
        '--init-weights',
        metavar='FILE',
        help="also write the searched network's weights, sliced from the supernet's taps (not in "
        'the paper, which trains it from scratch)',
    )
    parser.add_argument(
        '--multiple',
        type=int,
        default=1,
        metavar='M',
        help='give every dilation of a layer a multiple of M channels, with the least error (not '
        'in the paper); default: 1',
    )
    parser.add_argument(
        '--max-dilations',
        type=int,
        metavar='P',
        help='use at most P dilations in a layer, with the least error (not in the paper); '
        'default: any number',
    )
    parser.add_argument(
        '--statistics',
        metavar='CONFIG',
        help='weigh input channels by their measured means (not in the paper): run images of this '
        "config's train_dataloader through the supernet; --cfg-options change this config too",
    )
    parser.add_argument(
        '--samples', type=int, metavar='N', help='images of --statistics; default: 64'
    )
    args = parser.parse_args()
    for name in ('multiple', 'max_dilations', 'samples'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {value}')
    if args.space == 'layer' and (args.multiple > 1 or args.max_dilations):
        parser.error('--space layer has one dilation a layer: no --multiple or --max-dilations')
    if args.samples and not args.statistics:
        parser.error('--samples goes with --statistics')
    args.samples = args.samples or 64
    if args.init_weights and args.layout == 'sorted':
        parser.error('--init-weights needs --layout position: sorted moves channels around')
    args.layout = args.layout or ('position' if args.init_weights else 'sorted')
    return args


def warn_uniform(reports, console):
    """Name the layers whose choice cannot be told from a uniform draw."""
    names = [report.name for report in reports if report.p_value > UNIFORM]
    if names:
        console.print('Warning:', style='yellow', end=' ')
        console.print(
            f'in {len(names)} of {len(reports)} layers the choice cannot be told from a uniform '
            f'draw (chi-square test, p > {UNIFORM}): {", ".join(names)}. That is what EDO returns '
            'on an untrained or barely trained supernet; in the published patterns of ResNet-50 26 '
            'to 66 % of the channels take (1, 1). Train the supernet longer, or start it from a '
            'trained plain network.'
        )


def increase_told(report):
    """How much the constraints add to a layer's error, ``+0.5 (12.5 %)`` for example."""
    free = report.error - report.increase
    share = f' ({report.increase / free:.1%})' if free > 0 else ''
    return f'+{report.increase:.3g}{share}'


def read_means(args, model, layers, state, console):
    """Measure the means of the searched layers' inputs, with a progress bar."""
    namespace = argparse.Namespace(config=args.statistics, cfg_options=args.cfg_options)
    cfg = read_config(namespace, needed=['train_dataloader'])
    load_strictly(model, state, args.checkpoint)
    with Progress(console=console) as progress:
        task = progress.add_task('Statistics, images', total=args.samples)
        return measure_input_means(
            model, layers, cfg, args.samples, progress=lambda n: progress.advance(task, n)
        )


def main():
    args = parse_args()
    # Names of files and layers are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False)
    inputs = args.config, args.checkpoint, args.statistics
    check_outputs([args.out, args.init_weights], inputs, args.overwrite)
    cfg = read_config(args)
    console.print(f'Building the supernet of {args.config}')
    model = build_model(cfg, args.config)
    convs = supernet_convs(model, WideConv2d, args.scope or '')
    scope = common_scope(convs) if args.scope is None else args.scope
    layers = searched_layers(model, scope, args.space, args.multiple, args.max_dilations)
    console.print(f'Reading {args.checkpoint}')
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    state = state_dict_of(checkpoint, args.checkpoint, model)
    load_wide_weights(convs, state, args.checkpoint)
    meta = {'config': args.config, 'checkpoint': args.checkpoint}
    means = None
    if args.statistics:
        means = read_means(args, model, layers, state, console)
        meta.update(statistics=args.statistics, samples=args.samples)
    training, start = saved_cost(checkpoint), time.perf_counter()
    with Progress(console=console) as progress:
        task = progress.add_task('EDO', total=len(set(convs.values())))
        pattern, reports = search_network(
            model,
            args.space,
            args.layout,
            scope,
            meta,
            lambda _: progress.advance(task),
            args.multiple,
            args.max_dilations,
            means,
        )
    seconds = time.perf_counter() - start
    pattern.meta[KEY] = {'seconds': round(seconds, 3), 'training': training}
    columns = {
        'error_left': {
            report.name: f'{report.error:.3g} of {report.response:.3g}' for report in reports
        }
    }
    if args.multiple > 1 or args.max_dilations:
        columns['increase'] = {report.name: increase_told(report) for report in reports}
    print_table(console, pattern_table(pattern, **columns))
    warn_uniform(reports, console)
    console.print(search_words('EDO', seconds, training))
    pattern.save(args.out, args.overwrite)
    console.print(f'Wrote {args.out}')
    if args.init_weights:
        prefix = f'{scope}.' if scope else ''
        content = {'state_dict': searched_weights(state, convs, pattern, prefix), 'meta': meta}
        write_file(args.init_weights, lambda name: torch.save(content, name), args.overwrite)
        console.print(f'Wrote {args.init_weights}: use it as load_from')
    use = option_told(f'model.{scope or "backbone"}.pattern', args.out)
    console.print(
        f"Use it: in the supernet's config replace d_max by pattern={args.out!r}, or pass\n"
        f'  --cfg-options {use}\n'
        "to tools/train.py with the searched network's config. Picture: "
        f'python tools/show_pattern.py {shlex.quote(args.out)}'
    )


if __name__ == '__main__':
    run(main)
