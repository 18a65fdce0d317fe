"""The pattern files of Inception Convolution's authors: a list, one entry per 3x3 convolution.

An entry is ``{"(a, b)": count}`` with dilation ``(d_h, d_w) = (a + 1, b + 1)``. In their layer each
dilation is one convolution with ``count`` output channels and the layer's groups, and the outputs
are concatenated dilation by dilation. So with groups every count is a multiple of them, equally
many channels of each group have a dilation, and those of all groups stand together. In one grouped
convolution all channels of a group stand together: group-major order.
"""

import re

import torch

from mmic.layer_pattern import (
    MAX_CHANNELS,
    LayerPattern,
    PatternError,
    check_range,
    expect,
    is_integer,
)

KEY = re.compile(r'^\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)$')


def read_entry(entry, name, groups=1, in_channels=None):
    """Turn an entry of a published file into a layer, in the order of one convolution.

    Args:
        entry (dict[str, int]): Counts by dilation.
        name (str): The layer's name for messages.
        groups (int): Groups of the convolution. Defaults to 1.
        in_channels (int, optional): C_in of the convolution. Defaults to None: not known.

    Returns:
        LayerPattern

    Raises:
        PatternError: Impossible keys or counts, or a count that groups do not divide.
    """
    expect(entry, dict, f'layer {name!r}')
    pairs, counts = [], []
    for key, count in entry.items():
        match = KEY.match(key)
        if not match:
            raise PatternError(f'layer {name!r}: expected a key like "(0, 1)", got {key!r}.')
        pair = [int(match[1]) + 1, int(match[2]) + 1]
        check_range(pair, f'layer {name!r}')
        if not is_integer(count) or count < 0 or len(pairs) + count > MAX_CHANNELS:
            raise PatternError(f'layer {name!r}: {key!r} has impossible count {count!r}.')
        if count % groups:
            raise PatternError(
                f'layer {name!r}: {key!r} has {count} channels, which its {groups} groups do not '
                'divide; in a published layer with groups each has equally many of every dilation.'
            )
        pairs += [pair] * count
        counts.append(count)
    if groups > 1:
        pairs = [pairs[channel] for channel in group_major(counts, groups).tolist()]
    try:
        return LayerPattern(pairs, in_channels=in_channels, groups=groups)
    except PatternError as error:
        raise PatternError(f'layer {name!r}: {error}') from None


def group_major(counts, groups):
    """Where the channels of a grouped convolution stand in the authors' concatenation.

    Args:
        counts (Sequence[int]): Output channels of each dilation, multiples of ``groups``.
        groups (int): Groups of the layer.

    Returns:
        Tensor: For each channel of the one convolution, the published channel that takes its
        place; a permutation, int64 of shape (C_out,).
    """
    parts = torch.arange(sum(counts), device='cpu').split(list(counts))
    return torch.cat([part.reshape(groups, -1) for part in parts], 1).flatten()
