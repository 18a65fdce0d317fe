"""Published DO-Conv: ``W`` (C_out, C_in / g, D_mul), ``D`` (C_in, M * N, D_mul), ``d_diag``.

The kernel is ``einsum('ims,ois->oim', D + d_diag, W.reshape(C_out / g, C_in, D_mul))`` reshaped
to (C_out, C_in / g, M, N). For g > 1 the reshape pairs W with D otherwise than the paper, and
mmic's layer, do; those layers are folded into a plain weight.
"""

import math
import re

import torch

from mmic.convert.published import join, published_layers, replace_layers
from mmic.files import BadFileError
from mmic.layers.do_conv import stacked_identity

PARTS = re.compile(r'W|D|d_diag')


def doconv_kernel(weight, depthwise):
    """Compose the published kernel, in float64.

    Args:
        weight (Tensor): W, (C_out, C_in / g, D_mul).
        depthwise (Tensor): D + d_diag, (C_in, M * N, D_mul).

    Returns:
        Tensor: (C_out, C_in / g, M * N), in the dtype of ``weight``.
    """
    out_channels, depth, d_mul = weight.shape
    paired = weight.double().reshape(-1, len(depthwise), d_mul)
    kernel = torch.einsum('ims,ois->oim', depthwise.double(), paired)
    return kernel.reshape(out_channels, depth, -1).to(weight.dtype)


def convert_doconv(state, fold=False):
    """Turn published DO-Conv layers into ``DOConv2d``'s, or into plain convolutions.

    Layers without groups keep W and D; layers with groups are folded; 1x1 layers, which have
    no D, are plain. Kernels are taken to be square.

    Args:
        state (dict[str, Tensor]): The published tensors.
        fold (bool): Fold all layers. Defaults to False.

    Returns:
        dict[str, Tensor]: With ``weight``, and where D is kept ``depthwise``, of each layer.

    Raises:
        BadFileError: Another form, or shapes that do not fit; the message names the layer.
    """
    marked = published_layers(state, 'doconv')
    names = [key[: -len('.W')] if key != 'W' else '' for key in state if _is_w(key)]
    missing = [name for name in marked if name not in names]
    if missing:
        raise BadFileError(f'layer {missing[0]!r}: W is missing.')
    return replace_layers(state, {name: _layer(state, name, fold) for name in names}, PARTS)


def _is_w(key):
    return key.rpartition('.')[2] == 'W'


def _layer(state, name, fold):
    weight = state[join(name, 'W')]
    depthwise, diagonal = (state.get(join(name, key)) for key in ('D', 'd_diag'))
    if weight.ndim != 3:
        raise BadFileError(f'layer {name!r}: W has shape {tuple(weight.shape)}, not three axes.')
    out_channels, depth, d_mul = weight.shape
    if depthwise is None and diagonal is None:
        if d_mul != 1:
            raise BadFileError(f'layer {name!r}: D and d_diag are missing, W has D_mul {d_mul}.')
        return {'weight': weight[..., None]}
    if depthwise is None or diagonal is None or depthwise.shape != diagonal.shape:
        shapes = [None if x is None else tuple(x.shape) for x in (depthwise, diagonal)]
        raise BadFileError(
            f'layer {name!r}: D is {shapes[0]} and d_diag {shapes[1]}; both are needed, in one '
            'shape.'
        )
    if depthwise.ndim != 3 or depthwise.shape[2] != d_mul:
        raise BadFileError(
            f'layer {name!r}: D_mul is {d_mul} in W {tuple(weight.shape)} and another in D '
            f'{tuple(depthwise.shape)}.'
        )
    in_channels, taps = depthwise.shape[:2]
    side = math.isqrt(taps)
    if in_channels % depth or out_channels % (in_channels // depth) or side * side != taps:
        raise BadFileError(
            f'layer {name!r}: W {tuple(weight.shape)} and D {tuple(depthwise.shape)} fit no '
            'convolution with a square kernel.'
        )
    if d_mul < taps:
        raise BadFileError(f'layer {name!r}: D_mul is {d_mul}, less than the {taps} taps.')
    if fold or in_channels != depth:
        kernel = doconv_kernel(weight, depthwise + diagonal)
        return {'weight': kernel.reshape(out_channels, depth, side, side)}
    identity = stacked_identity(taps, d_mul).to(diagonal)
    if not torch.equal(diagonal, identity.expand_as(diagonal)):
        raise BadFileError(
            f'layer {name!r}: d_diag is not the identity, which mmic adds by itself; fold the '
            'layers (--fold, fold=True).'
        )
    if d_mul == taps:
        weight = weight.reshape(out_channels, depth, side, side)
    return {'weight': weight, 'depthwise': depthwise.permute(1, 2, 0).contiguous()}
