"""Draw what a checkpoint's weights tell: PSConv's scale allocation, or DO-Conv's |W' - W| maps."""

import argparse
import sys

from mmengine.registry import MODELS

from mmic.analysis.weights import (
    KINDS,
    layers_of,
    load_layers,
    measure,
    plot_kernel_changes,
    plot_scale_allocation,
)
from mmic.checkpoint import read_state_dict
from mmic.engine.config import add_checkpoint_arguments, add_config_arguments, read_config
from mmic.files import check_new, write_file

PLOTS = {'psconv': plot_scale_allocation, 'doconv': plot_kernel_changes}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help="checkpoint of the config's network")
    parser.add_argument('--out', required=True, metavar='PNG', help='picture to write')
    parser.add_argument(
        '--kind', choices=sorted(KINDS), help='default: the kind that the network has layers of'
    )
    add_checkpoint_arguments(parser)
    return parser.parse_args()


def kind_of(model):
    """The first kind that a network has layers of."""
    for kind, layer in KINDS.items():
        if any(isinstance(module, layer) for module in model.modules()):
            return kind
    names = ' or '.join(layer.__name__ for layer in KINDS.values())
    raise ValueError(f'the network has no {names} layers.')


def main():
    args = parse_args()
    check_new(args.out, args.overwrite)
    model = MODELS.build(read_config(args).model)
    kind = args.kind or kind_of(model)
    layers = layers_of(model, kind)
    state = read_state_dict(args.checkpoint, model, args.trust_checkpoint)
    load_layers(model, layers, state, args.checkpoint)
    found = measure(layers, kind)
    write_file(args.out, lambda name: PLOTS[kind](found, name), args.overwrite)
    print(f'Drew {len(found)} layers\nWrote {args.out}')


if __name__ == '__main__':
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f'plot_weights: {error}')
