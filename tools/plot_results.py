"""Draw figures of the papers from the table of results and from what was measured here.

Printed numbers are hollow, measured ones filled; docs/figures.md has pictures.
"""

import argparse
from typing import List

from rich.console import Console

from mmic.analysis.complexity import check_numbers
from mmic.analysis.correlation import LEAST, rank_correlation
from mmic.analysis.point_plot import point_figure
from mmic.analysis.row_points import (
    Point,
    accuracy_points,
    choose_rows,
    journal_points,
    row_macs,
    row_points,
    series_of_depths,
    series_of_supernets,
    supernet_kernel,
)
from mmic.engine.command_line import run
from mmic.engine.report import read_results
from mmic.engine.rows import read_rows, resolve
from mmic.files import check_outputs, write_file

ROWS = {
    'macs-ap': ['cr.t4.*'],
    'top1-ap': ['cr.t1.*', 'cr.t4.*', 'cr.f6.*'],
    'kernel-ap': ['ic.f3.*'],
}


def add_common(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument('--out', required=True, metavar='FILE', help='picture to write, .png')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    parser.add_argument(
        '--rows',
        nargs='+',
        metavar='ID',
        help='rows of the table of results, or patterns of ids in quotes; default: '
        f'{" ".join(ROWS[name])}',
    )
    parser.add_argument(
        '--results',
        nargs='+',
        metavar='FILE.json',
        help='what was measured, as tools/reproduce.py run --results writes it; default: nothing',
    )
    parser.add_argument('--title', help='title of the picture; default: none')
    parser.add_argument(
        '--metric',
        default='box_AP',
        metavar='NAME',
        help='what goes upwards, by its name in the table; default: box_AP',
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    macs = commands.add_parser('macs-ap', help='multiply-adds against AP (CR-NAS, Figure 5)')
    add_common(macs, 'macs-ap')
    macs.add_argument(
        '--shape',
        nargs=2,
        type=int,
        default=(800, 1088),
        metavar=('H', 'W'),
        help='size of the image that is counted; default: 800 1088, as in CR-NAS, Table 1',
    )
    macs.add_argument(
        '--proposals', type=int, default=2000, metavar='N', help='RoIs counted; default: 2000'
    )
    top1 = commands.add_parser(
        'top1-ap', help='top-1 accuracy against AP, and their rank correlation (CR-NAS, Figure 6)'
    )
    add_common(top1, 'top1-ap')
    top1.add_argument(
        '--journals',
        nargs=2,
        metavar=('TOP1', 'AP'),
        help='in place of rows: journals of tools/cr_search.py on the supernet as a classifier '
        'and as a detector',
    )
    kernel = commands.add_parser(
        'kernel-ap', help="AP against the supernet's kernel size (Inception Convolution, Figure 3)"
    )
    add_common(kernel, 'kernel-ap')
    args = parser.parse_args()
    if args.command == 'top1-ap' and args.journals and (args.rows or args.results):
        parser.error('--journals are drawn in place of --rows and --results')
    if args.command == 'macs-ap':
        check_numbers(tuple(args.shape), args.proposals)
    return args


def draw_macs(args, table, console):
    def place(row):
        console.print(f'Counting {row.network} ({row.id})')
        return row_macs(row, tuple(args.shape), args.proposals)

    points = row_points(*table, args.metric, place, series_of_depths)
    height, width = args.shape
    label = f'multiply-adds of the detector at {height} x {width}, G'
    return points, point_figure(points, label, y_label(args.metric), args.title)


def draw_kernels(args, table, console):
    points = row_points(*table, args.metric, supernet_kernel, series_of_supernets)
    # The curve of a network by itself: its baseline is the point at 3.
    points = [point._replace(group=point.series) for point in points]
    rows, chosen, _ = table
    ticks = sorted({supernet_kernel(resolve(rows, row)) for row in chosen})
    label = 'kernel size of the supernet, 2 d_max + 1'
    return points, point_figure(points, label, y_label(args.metric), args.title, x_ticks=ticks)


def draw_accuracies(args, table, console):
    if args.journals:
        points = journal_points(*args.journals)
    else:
        points = accuracy_points(*table, args.metric)
    lines = correlation_lines(points)
    for line in lines:
        console.print(line)
    title = args.title or (lines[0] if args.journals else None)
    label = 'top-1 accuracy, %'
    return points, point_figure(points, label, y_label(args.metric), title, joined=False)


def correlation_lines(points: List[Point]) -> List[str]:
    """Say the rank correlation of each series' measured points."""
    lines = []
    for series in dict.fromkeys(point.series for point in points):
        own = [point for point in points if point.series == series and point.measured]
        if len(own) < LEAST:
            lines.append(f'{series}: {len(own)} measured, too few for a rank correlation')
            continue
        tau, rho = rank_correlation([point.x for point in own], [point.y for point in own])
        lines.append(f"{series}: Kendall's tau {tau:.3f}, Spearman's rho {rho:.3f}")
    return lines


def y_label(metric: str) -> str:
    return f'{metric.replace("_", " ")}, %'


DRAW = {'macs-ap': draw_macs, 'top1-ap': draw_accuracies, 'kernel-ap': draw_kernels}


def main():
    args = parse_args()
    inputs = [*(args.results or ()), *(getattr(args, 'journals', None) or ())]
    check_outputs([args.out], inputs, args.overwrite)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    rows = read_rows()
    chosen = choose_rows(rows, args.rows or ROWS[args.command])
    results = {}
    for path in args.results or ():
        results.update(read_results(path, rows))
    points, figure = DRAW[args.command](args, (rows, chosen, results), console)
    write_file(args.out, lambda name: figure.savefig(name, dpi=120), args.overwrite)
    measured = sum(point.measured for point in points)
    printed = len(points) - measured
    console.print(f'Drew {printed} printed and {measured or "no"} measured points')
    console.print(f'Wrote {args.out}')


if __name__ == '__main__':
    run(main)
