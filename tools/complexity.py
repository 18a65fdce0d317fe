"""Count parameters and multiply-accumulates of whole networks, the plain ones beside them.

No data set is read and no image is computed: the network runs on shapes alone. Several configs
make one row each.
"""

import argparse
from pathlib import Path

from mmengine.registry import MODELS
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmic.analysis.complexity import check_numbers, count_complexity
from mmic.analysis.cost import darts_share
from mmic.analysis.plain import plain_config
from mmic.engine.command_line import run
from mmic.engine.config import add_config_arguments, build_model, read_config, set_scope
from mmic.engine.config_errors import config_errors
from mmic.engine.tables import print_table

COLUMNS = ('M params', 'G MACs', 'plain\nM params', 'plain\nG MACs', 'difference\nG MACs')
# Layers to name in a warning.
SHOWN = 4


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('more', nargs='*', metavar='config', help='further configs')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        required=True,
        metavar=('H', 'W'),
        help='size of the image as the backbone gets it, resized and padded',
    )
    parser.add_argument(
        '--proposals',
        type=int,
        default=2000,
        metavar='N',
        help='RoIs of the second stage; default: 2000, with which CR-NAS, Table 1, agrees',
    )
    parser.add_argument(
        '--detections',
        type=int,
        default=100,
        metavar='N',
        help='RoIs that get a mask; default: 100',
    )
    return parser.parse_args()


def count(cfg, config, *numbers):
    """Count the network of a config and the plain one, which may be the same.

    Returns:
        tuple[Complexity, Complexity, float | None]: The third is ``darts_share``'s.
    """
    set_scope(cfg)
    model = build_model(cfg, config)
    with config_errors(config):
        plain = plain_config(cfg.model)
        plain_model = model if plain == cfg.model else MODELS.build(plain)
    found = count_complexity(model, *numbers)
    beside = found if plain_model is model else count_complexity(plain_model, *numbers)
    return found, beside, darts_share(model)


def cells(parameters, macs, plain_parameters, plain_macs):
    """A row's numbers, in millions and thousands of millions."""
    counts = [parameters / 1e6, macs / 1e9, plain_parameters / 1e6, plain_macs / 1e9]
    # A zero is exact; a difference that is rounded to zero keeps its sign.
    difference = f'{(macs - plain_macs) / 1e9:+.3f}' if macs != plain_macs else '0'
    return [f'{value:.3f}' for value in counts] + [difference]


def make_table(title, first, rows):
    table = Table(title=title, box=box.SIMPLE)
    for column in (first, *COLUMNS):
        table.add_column(column, justify='left' if column == first else 'right', no_wrap=True)
    for name, *numbers in rows:
        table.add_row(name, *cells(*numbers))
    return table


def total(found):
    return found.total_parameters, found.total_macs


def main():
    args = parse_args()
    numbers = args.shape, args.proposals, args.detections
    check_numbers(*numbers)
    # Names are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False)
    configs = [args.config, *args.more]
    cfgs = [read_config(argparse.Namespace(**{**vars(args), 'config': name})) for name in configs]
    counts = [
        count(cfg, config, *numbers)
        for config, cfg in track(
            list(zip(configs, cfgs)), 'Counting', console=console, transient=True
        )
    ]
    height, width = args.shape
    title = f'{height} x {width}, {args.proposals} proposals, {args.detections} detections'
    if len(configs) > 1:
        names = [Path(config).stem for config in configs]
        rows = [(name, *total(a), *total(b)) for name, (a, b, _) in zip(names, counts)]
        print_table(console, make_table(title, 'network', rows))
    else:
        found, plain, _ = counts[0]
        columns = (*found[:2], *plain[:2])
        rows = [(part, *(column[part] for column in columns)) for part in found.parameters]
        rows.append(('total', *total(found), *total(plain)))
        print_table(console, make_table(f'{Path(args.config).stem}\n{title}', 'part', rows))
    for config, (found, _, share) in zip(configs, counts):
        if share is not None:
            console.print(
                f'{config}: the searched layers cost {share:.0%} of a DARTS-like search, which '
                'computes each dilation by a convolution of its own (Liu et al., section 3.3)'
            )
        if found.compositions:
            feature, kernel = (found.compositions[kind] / 1e9 for kind in ('feature', 'kernel'))
            console.print(
                f'{config}: in training DO-Conv makes it {feature:.3f} G MACs an image by feature '
                f'composition, {kernel:.3f} G by kernel composition, whose kernels are composed '
                'once a step (Cao et al., section 3)'
            )
        if found.not_run:
            names = ', '.join(found.not_run[:SHOWN]) + (', ...' if found.not_run[SHOWN:] else '')
            console.print(
                f'Warning: {config}: {len(found.not_run)} layers are not called, hence not '
                f'counted: {names}'
            )


if __name__ == '__main__':
    run(main)
