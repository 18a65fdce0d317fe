"""Published IC-Conv: one convolution a dilation, ``NAME.conv_list.N.weight``.

N counts the dilations with a positive count, in the order of the pattern file; the outputs are
concatenated in that order. With groups each dilation has channels of all groups, which one
grouped convolution has group by group: ``mmic.published_pattern`` says how, and the bottleneck
around the layer absorbs the permutation.
"""

import re

import torch

from mmic.convert.bottleneck import bottleneck_groups, permuted_outputs
from mmic.convert.published import join, published_layers, replace_layers
from mmic.files import BadFileError
from mmic.pattern import DilationPattern, run_lengths
from mmic.published_pattern import group_major

PARTS = re.compile(r'conv_list\.(\d+)\.(weight|bias)')


def convert_ic(state, pattern):
    """Turn published IC-Conv layers into ``ICConv2d``'s.

    Args:
        state (dict[str, Tensor]): The published tensors.
        pattern (str | Path): The published pattern file of the same network. Its entries
            belong to the layers in the order of the state dict.

    Returns:
        dict[str, Tensor]: With ``weight`` and ``dilations`` of each layer. Behind layers with
        groups bn2 and conv3 follow the order of their channels.

    Raises:
        PatternError: The pattern file is broken, has more or fewer entries, or counts that a
            layer's groups do not divide.
        BadFileError: The state dict has another form, counts that are not the pattern's, or a
            layer with groups outside of a bottleneck; the message names the layer.
    """
    groups = {name: _groups(state, name) for name in published_layers(state, 'ic')}
    pattern = DilationPattern.from_published(pattern, list(groups), groups)
    made, changed = {}, {}
    for name, layer in pattern.layers.items():
        first = layer.dilations[: layer.out_channels // layer.groups]
        counts = [count * layer.groups for _, _, count in run_lengths(first)]
        order = group_major(counts, layer.groups)
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
            tensors[kind] = torch.cat(parts)[order]
        made[name] = {**tensors, 'dilations': layer.dilations.clone()}
        if layer.groups > 1:
            changed.update(permuted_outputs(state, name, order))
    return {key: changed.get(key, v) for key, v in replace_layers(state, made, PARTS).items()}


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


def _groups(state, name):
    """Groups of a layer, as far as the layer before shows how many channels there are.

    Raises:
        BadFileError: There are groups, and the layer is not the conv2 of a bottleneck.
    """
    parts = _numbered(state, name, 'weight')
    depth = parts[0].shape[1] if parts and parts[0].ndim > 1 else 0
    before = re.sub(r'conv([2-9])$', lambda match: f'conv{int(match[1]) - 1}', name)
    if before == name or not depth:
        return 1
    plain = state.get(join(before, 'weight'))
    outputs = [plain] if plain is not None else _numbered(state, before, 'weight')
    channels = sum(map(len, outputs))
    if channels in (0, depth):
        return 1
    try:
        return bottleneck_groups(state, name, depth)
    except BadFileError as error:
        raise BadFileError(
            f'{error} Its kernels read {depth} of the {channels} channels of {before!r}: layers '
            'with groups are not converted elsewhere.'
        ) from None
