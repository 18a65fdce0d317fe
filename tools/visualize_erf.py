"""Draw effective receptive fields of networks side by side, and print their radii.

The last map of the backbone, as NATS draws it, or levels of the neck with their anchor boxes, as
CR-NAS does.
"""

import argparse
import re
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import nn

from mmic.analysis.erf import PLACES, measure_erfs
from mmic.analysis.erf_plot import plot_erfs
from mmic.checkpoint import load_strictly, read_state_dict
from mmic.engine.command_line import run
from mmic.engine.config import (
    add_checkpoint_arguments,
    add_config_options,
    build_model,
    read_config,
)
from mmic.engine.config_errors import SUFFIXES
from mmic.engine.tables import print_table
from mmic.files import check_outputs, write_file

LETTERS = {'backbone': 'C', 'neck': 'P'}
# Above this share on the border the image is called too small.
CUT = 0.01


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        'files',
        nargs='+',
        metavar='CONFIG [CHECKPOINT]',
        help='config files, each with its checkpoint behind it (.pth, .pt ...); without one the '
        'weights are random',
    )
    parser.add_argument('--out', required=True, metavar='PNG', help='picture to write')
    parser.add_argument(
        '--at',
        choices=PLACES,
        default='backbone',
        help='backbone: its last map; neck: P3 P4 P5 with anchor boxes; default: backbone',
    )
    parser.add_argument(
        '--levels',
        nargs='+',
        metavar='LEVEL',
        help='maps to draw: C2, C3 ... of the backbone, P2, P3 ... of the neck; the number l '
        'means stride 2 ** l',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=512,
        metavar='PIXELS',
        help='side of the image, a multiple of 32; default: 512',
    )
    parser.add_argument(
        '--names', nargs='+', metavar='NAME', help='of the networks; default: the files'
    )
    parser.add_argument(
        '--device', default='cpu', help='where to compute, cpu or cuda; default: cpu'
    )
    add_config_options(parser)
    add_checkpoint_arguments(parser)
    args = parser.parse_args()
    if args.size < 32 or args.size % 32:
        parser.error(f'--size takes a multiple of 32 from 32 up, got {args.size}')
    try:
        torch.zeros(1, device=args.device)
        args.networks = pair_files(args.files, args.names)
        args.levels = parse_levels(args.levels, args.at)
    # torch raises AssertionError where it was built without CUDA.
    except (ValueError, RuntimeError, AssertionError) as error:
        parser.error(str(error).splitlines()[0])
    return args


def pair_files(files, names):
    """Sort files into ``{name: (config, checkpoint or None)}`` by their suffix.

    Raises:
        ValueError: A checkpoint has no config before it, or the names are not as many.
    """
    pairs = []
    for file in files:
        if Path(file).suffix in SUFFIXES:
            pairs.append((file, None))
        elif not pairs or pairs[-1][1]:
            raise ValueError(f'{file}: a checkpoint stands behind its config, got {files}')
        else:
            pairs[-1] = (pairs[-1][0], file)
    if names is None:
        names = [Path(checkpoint or config).stem for config, checkpoint in pairs]
        if len(set(names)) < len(names):
            names = [Path(config).stem for config, _ in pairs]
    if len(names) != len(pairs) or len(set(names)) < len(names):
        raise ValueError(f'--names takes {len(pairs)} different names, got {names}')
    return dict(zip(names, pairs))


def parse_levels(levels, at):
    """Turn ``P3`` into 3; None stands for the default of the place."""
    if levels is None:
        return (3, 4, 5) if at == 'neck' else None
    for level in levels:
        if not re.fullmatch(f'{LETTERS[at]}[0-9]', level):
            raise ValueError(
                f'--levels with --at {at} takes {LETTERS[at]}2, {LETTERS[at]}3 ..., got {level!r}'
            )
    if len(set(levels)) < len(levels):
        raise ValueError(f'--levels: one stands twice in {levels}')
    return [int(level[1]) for level in levels]


def randomise(model):
    """Give convolutions normal weights of variance 1 / fan-out, the same for the same shapes.

    It keeps the size of the gradient, as there are no activations to make up for. Not
    ``init_weights``: it would fetch ImageNet weights, and it sets the last norm of each residual
    branch to zero, which hides the convolutions.
    """
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='linear')


def load_parts(model, state, path, at):
    """Load the backbone, and the neck where it is drawn; a model without parts as a whole."""
    if not hasattr(model, 'backbone'):
        load_strictly(model, state, path)
        return
    load_strictly(model.backbone, state, path, 'backbone.')
    if at == 'neck' and getattr(model, 'neck', None) is not None:
        load_strictly(model.neck, state, path, 'neck.')


def load_model(config, checkpoint, args, console):
    """Build a network with the weights of its checkpoint, or random ones."""
    console.print(f'Building the model of {config}')
    cfg = read_config(argparse.Namespace(config=config, cfg_options=args.cfg_options))
    model = build_model(cfg, config)
    if checkpoint is None:
        console.print('No checkpoint: the weights are random (seed 0)')
        randomise(model)
        return model
    console.print(f'Reading {checkpoint}')
    state = read_state_dict(checkpoint, model, args.trust_checkpoint)
    load_parts(model, state, checkpoint, args.at)
    return model


def radius_table(networks):
    """The numbers as a table."""
    table = Table(title='Effective receptive fields, radii in pixels')
    table.add_column('network', no_wrap=True)
    for column in ('map', 'stride', '50 % radius', '95 % radius', 'on the border'):
        table.add_column(column, justify='right', no_wrap=True)
    for name, erfs in networks.items():
        for erf in erfs:
            radii = [f'{erf.radius50:.1f}', f'{erf.radius95:.1f}']
            table.add_row(name, erf.name, str(erf.stride), *radii, f'{erf.border:.1%}')
    return table


def warn_cut(networks, size, console):
    """Name the maps whose field does not fit the image."""
    cut = [
        f'{name} {erf.name} ({erf.border:.1%})'
        for name, erfs in networks.items()
        for erf in erfs
        if erf.border > CUT
    ]
    if cut:
        console.print('Warning:', style='yellow', end=' ')
        console.print(
            f'more than {CUT:.0%} of the field lies on the border, the outer sixteenth of the '
            f'image, of {", ".join(cut)}. The image of {size} pixels cuts it and the radii are '
            'too small; pass a larger --size.'
        )


def main():
    args = parse_args()
    # Names of files and networks are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False)
    check_outputs([args.out], args.files, args.overwrite)
    models = {name: load_model(*pair, args, console) for name, pair in args.networks.items()}
    networks = {}
    with Progress(console=console) as progress:
        for name, model in progress.track(models.items(), description='Measuring'):
            try:
                networks[name] = measure_erfs(
                    model.to(args.device), args.at, args.levels, args.size
                )
            except ValueError as error:
                raise ValueError(f'{name}: {error}') from None
    print_table(console, radius_table(networks))
    warn_cut(networks, args.size, console)
    anchors = args.at == 'neck'
    write_file(args.out, lambda name: plot_erfs(networks, name, anchors), args.overwrite)
    console.print(f'Wrote {args.out}')


if __name__ == '__main__':
    run(main)
