"""Measure speed as ratios to the plain convolution or network: one process, interleaved, medians.

What is measured: layers (each layer and what else widens a receptive field), nats (the modes of the
supernet's layer), backbones (ResNet-50, inference), train (ResNet-50, a training step and its peak
memory), search (EDO on a ResNet-101 supernet, on the CPU always).
"""

import argparse
import shlex
import sys
from pathlib import Path

import torch
from rich.console import Console

from mmic.analysis.bench_backbones import bench_backbones, bench_training, build_backbone
from mmic.analysis.bench_layers import WIDTHS, bench_layers, bench_nats
from mmic.analysis.bench_pattern import widths_of
from mmic.analysis.bench_report import (
    describe,
    printed,
    printed_aims,
    screen_table,
    to_json,
    to_markdown,
)
from mmic.analysis.bench_search import bench_search
from mmic.analysis.benchmark import DTYPES, LAYOUTS, Setting
from mmic.engine.command_line import run
from mmic.engine.tables import print_table
from mmic.files import check_outputs, write_file

# The search goes first, since the peak memory of a process only grows.
BENCHES = {
    'search': lambda setting, pattern: bench_search(setting),
    'layers': bench_layers,
    'nats': lambda setting, pattern: bench_nats(setting),
    'backbones': bench_backbones,
    'train': bench_training,
}


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'what', nargs='?', choices=[*BENCHES, 'all'], default='all', help='default: all'
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='default: cpu')
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32', help='default: float32')
    parser.add_argument(
        '--layout',
        choices=sorted(LAYOUTS),
        default='channels_last',
        help='memory layout of the layers; default: channels_last',
    )
    parser.add_argument(
        '--pattern',
        metavar='FILE',
        help='pattern of a ResNet-50, of mmic or published, for the IC layers; default: one like '
        'the published ones is generated',
    )
    parser.add_argument(
        '--image',
        type=int,
        default=512,
        metavar='SIDE',
        help="side of the networks' image in pixels; layers have the sizes of their maps; "
        'default: 512',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=4,
        metavar=('N', 'C', 'H', 'W'),
        help="layers: another input than those of ResNet-50's stages, for example 200 64 56 56, "
        "which PSConv's paper times",
    )
    parser.add_argument(
        '--groups', type=int, default=1, metavar='G', help='layers: groups; default: 1'
    )
    parser.add_argument('--repeats', type=int, default=20, help='timed rounds; default: 20')
    parser.add_argument('--threads', type=int, help="torch's threads; default: torch's choice")
    parser.add_argument('--json', metavar='FILE', help='also write all medians')
    parser.add_argument('--markdown', metavar='FILE', help='also write the tables')
    parser.add_argument('--overwrite', action='store_true', help='replace existing files')
    args = parser.parse_args()
    if args.threads is not None and args.threads < 1:
        parser.error(f'--threads must be 1 or more, got {args.threads}')
    if (args.shape or args.groups != 1) and args.what != 'layers':
        parser.error('--shape and --groups go with `layers`')
    if min([args.groups, *(args.shape or [])]) < 1:
        parser.error('--shape and --groups must be 1 or more')
    return args


def check_pattern(pattern, what, setting):
    """Raise before any work if the pattern is not for what is measured."""
    if what in ('layers', 'all'):
        widths_of(pattern, [setting.shape[1]] if setting.shape else WIDTHS, setting.groups)
    if what in ('backbones', 'train', 'all'):
        build_backbone('IC', pattern)


def write_text(path, text, overwrite, console):
    """Write a result and say where it went."""
    write_file(path, lambda name: Path(name).write_text(text), overwrite)
    console.print(f'Wrote {path}')


def main():
    args = parse_args()
    console = Console(soft_wrap=True, markup=False)
    check_outputs([args.json, args.markdown], [args.pattern], args.overwrite)
    if args.threads:
        torch.set_num_threads(args.threads)
    shape = tuple(args.shape) if args.shape else None
    numbers = args.repeats, args.image, shape, args.groups
    setting = Setting(args.device, args.dtype, args.layout, *numbers)
    setting.check()
    if args.pattern:
        check_pattern(args.pattern, args.what, setting)
    command = shlex.join(['python', 'tools/benchmark.py', *sys.argv[1:]])
    where = describe(setting, command, args.pattern)
    console.print(', '.join(f'{key} {value}' for key, value in where.items()))
    tables = []
    for name, bench in BENCHES.items():
        if args.what in (name, 'all'):
            found = bench(setting, args.pattern)
            for table in found:
                print_table(console, screen_table(*printed(table)))
            tables += found
    print_table(console, screen_table(*printed_aims(tables, setting)))
    if args.json:
        write_text(args.json, to_json(where, tables), args.overwrite, console)
    if args.markdown:
        text = to_markdown(where, tables, setting)
        write_text(args.markdown, text, args.overwrite, console)


if __name__ == '__main__':
    run(main)
