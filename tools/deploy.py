"""Fuse a trained network for inference, check it, and write its weights and an ONNX file.

The random image that everything is checked on stands for a normalised one.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from mmic.analysis.image import image_channels
from mmic.checkpoint import load_strictly, meta_of, read_checkpoint, state_dict_of
from mmic.deploy import export_onnx, fuse, relative_difference, run_onnx
from mmic.engine.command_line import run
from mmic.engine.config import (
    add_checkpoint_arguments,
    add_config_arguments,
    build_model,
    read_config,
)
from mmic.files import check_outputs, write_file
from mmic.version import __version__

# Largest difference of outputs, relative to the largest value, that rounding explains.
TOLERANCE = 1e-4
# Heads that take the features of backbone and neck.
HEADS = ('rpn_head', 'bbox_head', 'mask_head', 'decode_head', 'auxiliary_head', 'head')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the trained network')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write to')
    parser.add_argument(
        '--keep-bn',
        action='store_true',
        help='keep batch normalisation: the weights of a DO-Conv network then load into the plain '
        'one',
    )
    parser.add_argument(
        '--onnx', action='store_true', help='also write model.onnx, and check it with onnxruntime'
    )
    parser.add_argument(
        '--scope',
        metavar='NAME',
        help='part of the model that the ONNX file holds; it must take an image; default: '
        'backbone, or the whole model where it has none',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(224, 224),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image to check on, and of the input of the ONNX file; default: 224 224',
    )
    add_checkpoint_arguments(parser)
    args = parser.parse_args()
    if min(args.shape) < 1:
        parser.error(f'--shape takes two sizes from 1 up, got {args.shape}')
    return args


@torch.no_grad()
def compare(model, fused, image, console):
    """Print how far the fused network's outputs are from the network's."""
    if hasattr(model, 'extract_feat'):
        features, fused_features = model.extract_feat(image), fused.extract_feat(image)
    else:
        features, fused_features = model(image), fused(image)
    differences = {'features': relative_difference(features, fused_features)}
    for name in HEADS:
        head = getattr(model, name, None)
        if not isinstance(head, nn.Module):
            continue
        try:
            expected = head(features)
        # Heads that take more than features, of transformers for example.
        except Exception:
            console.print(f'{name} takes more than features and is not compared')
            continue
        differences[name] = relative_difference(expected, getattr(fused, name)(features))
    for name, difference in differences.items():
        console.print(f'Largest relative difference of {name}: {difference:.1e}')
        if difference > TOLERANCE:
            raise ValueError(f'the fused network differs in {name} by more than {TOLERANCE}.')


def part_of(model, scope):
    """The part of a model that is exported, and its name."""
    if scope is None:
        scope = 'backbone' if hasattr(model, 'backbone') else ''
    try:
        return model.get_submodule(scope), scope or 'model'
    except AttributeError:
        names = ', '.join(name for name, _ in model.named_children())
        raise ValueError(f'--scope: the model has no {scope!r}; it has {names}.') from None


def write_onnx(part, image, path, overwrite, console):
    """Write and check an ONNX file; it is kept only where it agrees."""

    def write(name):
        export_onnx(part, image, name)
        with torch.no_grad():
            difference = relative_difference(part(image), run_onnx(name, image))
        console.print(f'Largest relative difference of the ONNX file: {difference:.1e}')
        if difference > TOLERANCE:
            raise ValueError(f'the ONNX file differs by more than {TOLERANCE} and is not kept.')

    write_file(path, write, overwrite)


def main():
    args = parse_args()
    # Names of files and layers are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False)
    weights, onnx = Path(args.out) / 'fused.pth', Path(args.out) / 'model.onnx'
    files = [weights, onnx] if args.onnx else [weights]
    check_outputs(files, [args.config, args.checkpoint], args.overwrite)
    cfg = read_config(args)
    console.print(f'Building the model of {args.config}')
    model = build_model(cfg, args.config)
    console.print(f'Reading {args.checkpoint}')
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    load_strictly(model, state_dict_of(checkpoint, args.checkpoint, model), args.checkpoint)
    model.eval()
    console.print('Fusing')
    fused = fuse(model, fold_bn=not args.keep_bn)
    image = torch.randn(1, image_channels(model), *args.shape)
    compare(model, fused, image, console)
    if args.onnx:
        part, name = part_of(fused, args.scope)
        write_onnx(part, image, onnx, args.overwrite, console)
        height, width = args.shape
        console.print(f'Wrote {onnx}: {name}, images of {height} x {width}')
    meta = {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'mmic_version': __version__,
        'fold_bn': not args.keep_bn,
    }
    # MMDetection's inference reads the names of the classes there.
    saved = meta_of(checkpoint)
    if 'dataset_meta' in saved:
        meta['dataset_meta'] = saved['dataset_meta']
    content = {'state_dict': fused.state_dict(), 'meta': meta}
    write_file(weights, lambda name: torch.save(content, name), args.overwrite)
    console.print(
        f'Wrote {weights}. Use it: model = MODELS.build(cfg.model), '
        f'model = mmic.deploy.fuse(model{", fold_bn=False" if args.keep_bn else ""}), then load '
        "the file's state_dict"
    )


if __name__ == '__main__':
    run(main)
