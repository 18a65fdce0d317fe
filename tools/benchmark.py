"""Measure speed as ratios to the plain convolution, in one process, interleaved, medians."""

import argparse
import statistics

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from mmic.analysis.benchmark import (
    extra_memory,
    forward,
    forward_backward,
    interleaved_medians,
    saved_bytes,
)
from mmic.layers import DOConv2d, ICConv2d, PSConv2d
from mmic.search.edo import search_dilations
from mmic.supernet import MixedConv2d, WideConv2d
from mmic.supernet.genotypes import GENOTYPES
from mmic.supernet.mixed_conv import MODES

# (channels, side) of ResNet-50's conv2 at a 512 px image, batch of 2.
SHAPES = [(64, 128), (128, 64), (256, 32), (512, 16)]
FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
# (channels, layers) of ResNet-101's 3x3 convolutions.
RESNET101 = [(64, 3), (128, 4), (256, 23), (512, 3)]


def make_layers(channels):
    """The layers to time, by name, the plain convolution first; all hold its weights."""
    generator = torch.Generator().manual_seed(0)
    # As published patterns have it: about half the channels keep dilation (1, 1).
    dilations = torch.randint(1, 5, (channels, 2), generator=generator)
    dilations[: channels // 2] = 1
    dilations = torch.tensor(sorted(dilations.tolist()))
    plain = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    dilated = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False)
    do_conv = DOConv2d.from_conv(plain)
    return {
        'plain': plain,
        'dilation 2': dilated,
        'IC': ICConv2d.from_conv(plain, dilations),
        'PS, block form': PSConv2d.from_conv(plain),
        'PS, sum form': PSConv2d.from_conv(plain, form='sum'),
        'DO': do_conv,
        'DO, fused': do_conv.fuse(),
        '9x9': WideConv2d.from_conv(plain, 4),
    }


def bench_layers(args, console):
    """Each layer against nn.Conv2d of the same shape, inference and training step."""
    layout = FORMATS[args.layout]
    for kind, run in (('forward', forward), ('forward + backward', forward_backward)):
        table = Table(title=f'{kind}, {args.layout}: time as a ratio to nn.Conv2d')
        table.add_column('layer')
        rows = {}
        for channels, side in SHAPES:
            table.add_column(str((2, channels, side, side)), justify='right')
            x = torch.randn(2, channels, side, side).to(memory_format=layout)
            functions = {
                name: run(layer.to(memory_format=layout), x)
                for name, layer in make_layers(channels).items()
            }
            medians = interleaved_medians(functions, args.repeats)
            for name, seconds in medians.items():
                rows.setdefault(name, []).append(seconds / medians['plain'])
        table.add_column('geometric mean', justify='right')
        for name, ratios in rows.items():
            mean = statistics.geometric_mean(ratios)
            table.add_row(name, *(f'{ratio:.2f}' for ratio in [*ratios, mean]))
        console.print(table)


def bench_search(args, console):
    """EDO on a ResNet-101 supernet against one weight.sum(1) over the same tensors."""
    weights = [
        torch.empty(channels, channels, 9, 9).normal_()
        for channels, count in RESNET101
        for _ in range(count)
    ]
    total = sum(weight.numel() * 4 for weight in weights)
    memory = extra_memory(lambda: [search_dilations(weight) for weight in weights])
    medians = interleaved_medians(
        {
            'sum': lambda: [weight.sum(1) for weight in weights],
            'edo': lambda: [search_dilations(weight) for weight in weights],
        },
        args.repeats,
    )
    console.print(
        f'EDO on a ResNet-101 supernet ({len(weights)} layers, {total / 2**20:.0f} MiB): '
        f'{medians["edo"] * 1e3:.0f} ms, {medians["edo"] / medians["sum"]:.2f} times one '
        f'weight.sum(1); extra memory {memory / 2**20:.1f} MiB, {memory / total:.1%} of the weights'
    )


def bench_nats(args, console):
    """The modes of the NATS supernet's layer: time of a step, and what is kept for backward."""
    table = Table(title='NATS supernet layer, set C, N = 16: forward + backward as a ratio')
    table.add_column('mode')
    rows = {}
    for stage, (channels, side) in zip(('layer2', 'layer3', 'layer4'), SHAPES[1:]):
        table.add_column(f'{stage}, time', justify='right')
        table.add_column('saved', justify='right')
        plain = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        layers = {'plain': plain}
        for mode in MODES:
            layers[mode] = MixedConv2d.from_conv(
                plain, genotypes=GENOTYPES['C'][stage], num_groups=16, mode=mode
            )
        x = torch.randn(2, channels, side, side).to(memory_format=FORMATS[args.layout])
        for layer in layers.values():
            layer.to(memory_format=FORMATS[args.layout])
        functions = {name: forward_backward(layer, x) for name, layer in layers.items()}
        medians = interleaved_medians(functions, args.repeats)
        kept = {name: saved_bytes(layer, x) for name, layer in layers.items()}
        for name in layers:
            rows.setdefault(name, []).append(f'{medians[name] / medians["plain"]:.2f}')
            rows[name].append(f'{kept[name] / kept["plain"]:.2f}')
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)


BENCHES = {'search': bench_search, 'layers': bench_layers, 'nats': bench_nats}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'what', nargs='?', choices=[*BENCHES, 'all'], default='all', help='default: all'
    )
    parser.add_argument('--repeats', type=int, default=20, help='timed rounds; default: 20')
    parser.add_argument('--threads', type=int, help="torch's threads; default: torch's choice")
    parser.add_argument(
        '--layout',
        choices=sorted(FORMATS),
        default='channels_last',
        help='memory layout of the layers; default: channels_last',
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console(soft_wrap=True)
    console.print(f'torch {torch.__version__}, {torch.get_num_threads()} threads, CPU, float32')
    # The search goes first, since the peak memory of a process only grows.
    for name, bench in BENCHES.items():
        if args.what in (name, 'all'):
            bench(args, console)


if __name__ == '__main__':
    main()
