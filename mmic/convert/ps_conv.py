r"""Published PSConv: three convolutions on four contiguous blocks of channels, added up.

``conv`` (dilation 1) is zero from input block i to output blocks i and i + 2 (mod 4);
``gwconv`` (4 groups, dilation 2) reads block i for block i; ``gwconv_shift`` (4 groups, dilation
4) does so on an input whose halves are swapped, so it reads block i + 2 for block i. The
dilation depends on the blocks alone, by (input block - output block) mod 4: 2, 1, 4, 1.

In the paper's formula, and in mmic's layer, the class of a channel is its index mod 4 and the
dilation goes by (input - output) mod 4: 1, 2, 1, 4. So channel k of a group takes the place
k // 4 of block k mod 4 on the input side, and of block k + 1 mod 4 on the output side.
"""

import re

import torch

from mmic.convert.bottleneck import bottleneck_groups, permuted_norm, permuted_outputs
from mmic.convert.published import join, published_layers, replace_layers
from mmic.files import BadFileError
from mmic.layers.ps_conv import dilation_matrix

PATTERN = (1, 2, 1, 4)
BLOCKS = len(PATTERN)
PARTS = re.compile(r'(conv|gwconv|gwconv_shift)\.(weight|bias)')
ALONE = ' mmic.convert.psconv_layer converts a single layer and returns the permutations.'


class NonzeroBlocksError(BadFileError):
    """Blocks of ``conv`` that are meant to be zero are not.

    Args:
        values (dict[str, float]): Largest absolute value in them by layer.
    """

    def __init__(self, values):
        self.values = values
        shown = [f'{name!r} up to {value:.3g}' for name, value in list(values.items())[:5]]
        super().__init__(
            'some blocks of conv are meant to be zero and mmic cannot keep them, but they are not '
            f'in {len(values)} layers: {", ".join(shown)}{", ..." if len(values) > 5 else ""}. '
            'Dropping them changes the outputs; pass --drop-nonzero (drop_nonzero=True) to do so.'
        )


def interleave(channels, groups, first):
    """For each channel of mmic's layer, the published channel that takes its place.

    Args:
        channels (int): Number of channels; each group's must divide by 4.
        groups (int): Groups of the layer; each is ordered by itself.
        first (int): The block that channel 0 of a group is taken from.

    Returns:
        Tensor: A permutation, int64 of shape (channels,).
    """
    size = channels // groups
    local = torch.arange(size)
    local = (local + first) % BLOCKS * (size // BLOCKS) + local // BLOCKS
    return (torch.arange(groups)[:, None] * size + local).flatten()


def psconv_layer(tensors, groups=1, name='', drop_nonzero=False):
    """Turn one published PSConv layer into a ``PSConv2d``'s weights and two permutations.

    ``PSConv2d(x[:, inputs])`` with these weights equals ``published(x)[:, outputs]``.

    Args:
        tensors (dict[str, Tensor]): ``conv.weight``, ``gwconv.weight``, ``gwconv_shift.weight``,
            and, where there are any, their biases.
        groups (int): Groups of ``conv``. Defaults to 1.
        name (str): The layer's name for messages.
        drop_nonzero (bool): Drop what stands in the blocks that are meant to be zero. Defaults
            to False.

    Returns:
        tuple[dict[str, Tensor], Tensor, Tensor]: ``weight``, ``dilations`` (and ``bias``);
        ``inputs``; ``outputs``.

    Raises:
        BadFileError: A tensor is missing or of another shape.
        NonzeroBlocksError: Blocks are not zero and ``drop_nonzero`` is False.
    """
    conv, own, shifted = (
        _tensor(tensors, f'{part}.weight', name) for part in ('conv', 'gwconv', 'gwconv_shift')
    )
    if conv.ndim != 4:
        raise BadFileError(f'layer {name!r}: conv.weight has shape {tuple(conv.shape)}.')
    rows, depth = conv.shape[0] // groups, conv.shape[1]
    expected = (len(conv), depth // BLOCKS, *conv.shape[2:])
    if conv.shape[0] % groups or rows % BLOCKS or depth % BLOCKS:
        raise BadFileError(
            f'layer {name!r}: {rows} output and {depth} input channels a group do not make '
            f'{BLOCKS} blocks each.'
        )
    if tuple(own.shape) != expected or tuple(shifted.shape) != expected:
        raise BadFileError(
            f'layer {name!r}: gwconv is {tuple(own.shape)} and gwconv_shift '
            f'{tuple(shifted.shape)} where conv asks for {expected}.'
        )
    # (group, output block, output, input block, input, k, k)
    size = (groups, BLOCKS, rows // BLOCKS, BLOCKS, depth // BLOCKS, *conv.shape[2:])
    blocks = conv.reshape(size).clone()
    worst = conv.new_zeros(())
    for part, step in ((own, 0), (shifted, BLOCKS // 2)):
        part = part.reshape(*size[:3], *size[4:])
        for block in range(BLOCKS):
            taken = blocks[:, block, :, (block + step) % BLOCKS]
            worst = torch.maximum(worst, taken.abs().max())
            taken.copy_(part[:, block])
    if worst != 0 and not drop_nonzero:
        raise NonzeroBlocksError({name: worst.item()})
    inputs = interleave(groups * depth, groups, 0)
    outputs = interleave(len(conv), groups, 1)
    weight = blocks.reshape(conv.shape)[outputs][:, inputs[:depth]]
    made = {'weight': weight.contiguous()}
    biases = [tensors[key] for key in tensors if key.endswith('.bias')]
    if biases:
        made['bias'] = sum(biases)[outputs]
    made['dilations'] = dilation_matrix(PATTERN, groups * depth, len(conv), groups)
    return made, inputs, outputs


def convert_psconv(state, drop_nonzero=False):
    """Turn published PSConv layers into ``PSConv2d``'s, of the default pattern (1, 2, 1, 4).

    Each layer must be the ``conv2`` of a bottleneck, which absorbs the permutation of channels
    on the output side of conv1 and bn1 and on the input side of bn2 and conv3.

    Args:
        state (dict[str, Tensor]): The published tensors.
        drop_nonzero (bool): See ``psconv_layer``. Defaults to False.

    Returns:
        dict[str, Tensor]

    Raises:
        BadFileError: Another form, or a layer outside a bottleneck; the message names it.
        NonzeroBlocksError: Blocks are not zero and ``drop_nonzero`` is False; the message names
            the layers and their largest values.
    """
    made, changed, nonzero = {}, {}, {}
    for name in published_layers(state, 'psconv'):
        depth = _tensor(state, f'{name}.conv.weight', name).shape[1]
        groups = bottleneck_groups(state, name, depth, ALONE)
        prefix, block = join(name, ''), name.rpartition('.')[0]
        tensors = {
            key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)
        }
        try:
            made[name], inputs, outputs = psconv_layer(tensors, groups, name, drop_nonzero)
        except NonzeroBlocksError as error:
            nonzero.update(error.values)
            continue
        for child in ('conv1', 'bn1'):
            changed.update(permuted_norm(state, join(block, child), inputs))
        changed.update(permuted_outputs(state, name, outputs))
    if nonzero:
        raise NonzeroBlocksError(nonzero)
    return {key: changed.get(key, v) for key, v in replace_layers(state, made, PARTS).items()}


def _tensor(tensors, key, name):
    if key not in tensors:
        raise BadFileError(f'layer {name!r}: {key} is missing.')
    return tensors[key]
