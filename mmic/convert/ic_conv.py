"""Published IC-Conv: one convolution a dilation, ``NAME.conv_list.N.weight``.

N counts the dilations with a positive count, in the order of the pattern file; the outputs are
concatenated in that order.
"""

import re

import torch

from mmic.convert.published import join, published_layers, replace_layers
from mmic.files import BadFileError
from mmic.pattern import DilationPattern, run_lengths

PARTS = re.compile(r'conv_list\.(\d+)\.(weight|bias)')


def convert_ic(state, pattern):
    """Turn published IC-Conv layers into ``ICConv2d``'s.

    Args:
        state (dict[str, Tensor]): The published tensors.
        pattern (str | Path): The published pattern file of the same network. Its entries
            belong to the layers in the order of the state dict.

    Returns:
        dict[str, Tensor]: With ``weight`` and ``dilations`` of each layer.

    Raises:
        PatternError: The pattern file is broken, or has more or fewer entries.
        BadFileError: The state dict has another form, or counts that are not the pattern's;
            the message names the layer.
    """
    pattern = DilationPattern.from_published(pattern, published_layers(state, 'ic'))
    made = {}
    for name, layer in pattern.layers.items():
        counts = [count for _, _, count in run_lengths(layer.dilations)]
        tensors = {}
        for kind in ('weight', 'bias'):
            parts = _numbered(state, name, kind)
            if not parts and kind == 'bias':
                continue
            found = [len(part) for part in parts]
            if found != counts:
                raise BadFileError(
                    f'layer {name!r}: conv_list holds {found} output channels per dilation, the '
                    f'pattern file {pattern.source} {counts}. Is it the pattern of this network?'
                )
            if len({part.shape[1:] for part in parts}) > 1:
                shapes = [tuple(part.shape) for part in parts]
                raise BadFileError(f'layer {name!r}: conv_list holds kernels of shapes {shapes}.')
            tensors[kind] = torch.cat(parts)
        _check_ungrouped(state, name, tensors['weight'].shape[1])
        made[name] = {**tensors, 'dilations': layer.dilations.clone()}
    return replace_layers(state, made, PARTS)


def _numbered(state, name, kind):
    """The convolutions of one layer in order, or an error where a number is missing."""
    prefix, parts = join(name, ''), {}
    for key, value in state.items():
        match = PARTS.fullmatch(key[len(prefix) :]) if key.startswith(prefix) else None
        if match and match[2] == kind:
            parts[int(match[1])] = value
    if sorted(parts) != list(range(len(parts))):
        raise BadFileError(f'layer {name!r}: conv_list has {kind}s {sorted(parts)} only.')
    return [parts[number] for number in sorted(parts)]


def _check_ungrouped(state, name, depth):
    """Raise where the layer before shows that this one has groups.

    Output channels of a concatenation of grouped convolutions go by dilation first; those of
    one grouped convolution go by group first.
    """
    before = re.sub(r'conv([2-9])$', lambda match: f'conv{int(match[1]) - 1}', name)
    channels = state.get(f'{before}.weight') if before != name else None
    if channels is not None and len(channels) != depth:
        raise BadFileError(
            f'layer {name!r}: its kernels read {depth} of the {len(channels)} channels of '
            f'{before!r}. Published IC-Conv layers with groups are not converted.'
        )
