"""Draw what a checkpoint's weights tell: PSConv's scale allocation, or DO-Conv's |W' - W| maps."""

import argparse

from mmic.analysis.weights import (
    KINDS,
    layers_of,
    load_layers,
    measure,
    plot_kernel_changes,
    plot_scale_allocation,
)
from mmic.checkpoint import read_state_dict
from mmic.engine.command_line import run
from mmic.engine.config import (
    add_checkpoint_arguments,
    add_config_arguments,
    build_model,
    read_config,
)
from mmic.files import check_outputs, write_file

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
    check_outputs([args.out], [args.config, args.checkpoint], args.overwrite)
    model = build_model(read_config(args), args.config)
    kind = args.kind or kind_of(model)
    layers = layers_of(model, kind)
    state = read_state_dict(args.checkpoint, model, args.trust_checkpoint)
    load_layers(model, layers, state, args.checkpoint)
    found = measure(layers, kind)
    write_file(args.out, lambda name: PLOTS[kind](found, name), args.overwrite)
    print(f'Drew {len(found)} layers\nWrote {args.out}')


if __name__ == '__main__':
    run(main)
