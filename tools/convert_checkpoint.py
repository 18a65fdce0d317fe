"""Turn a checkpoint that the authors of IC-Conv, PSConv or DO-Conv published into mmic's keys."""

import argparse

import torch

from mmic.checkpoint import meta_of, read_checkpoint, state_dict_of
from mmic.convert import (
    KINDS,
    NonzeroBlocksError,
    convert_doconv,
    convert_ic,
    convert_psconv,
    published_layers,
)
from mmic.engine.command_line import run
from mmic.engine.config import add_checkpoint_arguments
from mmic.files import BadFileError, check_outputs, write_file

# Class names of the data set, which inference looks for in a checkpoint.
KEPT_META = ('CLASSES', 'PALETTE', 'dataset_meta')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kind', choices=KINDS, help='which method published it')
    parser.add_argument('checkpoint', help='the published checkpoint')
    parser.add_argument('--out', required=True, metavar='FILE', help='checkpoint to write')
    parser.add_argument(
        '--pattern',
        metavar='FILE',
        help='the published pattern file; needed for ic, and only there',
    )
    parser.add_argument(
        '--drop-nonzero',
        action='store_true',
        help='psconv: drop values in the blocks of conv that are meant to be zero',
    )
    parser.add_argument(
        '--fold',
        action='store_true',
        help='doconv: write plain convolutions, also where D could be kept for training',
    )
    add_checkpoint_arguments(parser)
    args = parser.parse_args()
    if (args.kind == 'ic') != bool(args.pattern):
        parser.error('--pattern belongs to ic: it is needed there and means nothing elsewhere')
    if args.drop_nonzero and args.kind != 'psconv':
        parser.error('--drop-nonzero belongs to psconv')
    if args.fold and args.kind != 'doconv':
        parser.error('--fold belongs to doconv')
    return args


def convert(state, args):
    """The converted state dict."""
    if args.kind == 'ic':
        return convert_ic(state, args.pattern)
    if args.kind == 'doconv':
        return convert_doconv(state, args.fold)
    try:
        return convert_psconv(state)
    except NonzeroBlocksError as error:
        if not args.drop_nonzero:
            raise
        for name, value in error.values.items():
            print(f'Dropped from {name}: blocks meant to be zero, values up to {value:.3g}')
    return convert_psconv(state, drop_nonzero=True)


def main():
    args = parse_args()
    check_outputs([args.out], [args.checkpoint, args.pattern], args.overwrite)
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    state = state_dict_of(checkpoint, args.checkpoint)
    try:
        converted = convert(state, args)
    except BadFileError as error:
        raise BadFileError(f'{args.checkpoint}: {error}') from None
    meta = {key: value for key, value in meta_of(checkpoint).items() if key in KEPT_META}
    content = {'state_dict': converted, 'meta': {**meta, 'converted_from': args.checkpoint}}
    write_file(args.out, lambda name: torch.save(content, name), args.overwrite)
    kept = sum(key.rpartition('.')[2] == 'depthwise' for key in converted)
    told = f', D kept in {kept} of them' if args.kind == 'doconv' else ''
    print(f'Converted {len(published_layers(state, args.kind))} layers{told}')
    print(f'Wrote {args.out}: use it as load_from, or as the checkpoint of init_cfg')


if __name__ == '__main__':
    run(main)
