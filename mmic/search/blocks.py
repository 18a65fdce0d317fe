"""EDO with whole blocks of channels a dilation: which channels may form one, and their choice.

A convolution runs fast if each of its dilations has full blocks of ``multiple`` output channels.
In a grouped convolution channels stay in their group. Groups of at least ``multiple`` channels
fill their own blocks; of smaller ones, such as those of depthwise convolutions, a block holds
several, and all of a group's channels take one dilation.
"""

import torch

from mmic.pattern import is_integer
from mmic.search.assign import assign


def check_blocks(out_channels, groups, multiple, max_dilations, space='full'):
    """Raise ValueError unless a layer's channels can be chosen for in such blocks.

    Args:
        out_channels (int): C_out.
        groups (int): Of the layer.
        multiple (int): Channels of a block, from 1 to C_out; in a grouped convolution it divides
            the channels of a group or is a multiple of them.
        max_dilations (int | None): Most dilations of the layer, from 1 up.
        space (str): Of the search. With one choice for the layer there are no blocks in groups.
    """
    for name, value in (('multiple', multiple), ('max_dilations', max_dilations)):
        if value is not None and (not is_integer(value) or value < 1):
            raise ValueError(f'{name} must be a whole number from 1 up, got {value!r}.')
    if multiple > out_channels:
        raise ValueError(
            f'multiple is {multiple}, the layer has {out_channels} output channels; give '
            f'{out_channels} or less.'
        )
    if groups == 1 or multiple == 1 or space == 'layer':
        return
    size = out_channels // groups
    if size % multiple and multiple % size:
        raise ValueError(
            f'multiple is {multiple}, the layer has {groups} groups of {size} output channels; '
            'it must divide them or be a multiple of them.'
        )
    if size > multiple and max_dilations is not None:
        raise ValueError(
            f'the layer has {groups} groups of {size} output channels, of which each fills blocks '
            f'of its own: with max_dilations, multiple must be 1 or at least {size}, got '
            f'{multiple}.'
        )


def choose_in_blocks(errors, choice, groups=1, multiple=1, max_dilations=None):
    """Change a layer's free choice as little as the constraints ask for, in total error.

    Args:
        errors (Tensor): Of each channel's candidates, float64 of shape (C_out, candidates).
        choice (Tensor): The free choice, (C_out,). Kept where it meets the constraints.
        groups (int): Of the layer. Defaults to 1.
        multiple (int): Channels of a block. Defaults to 1.
        max_dilations (int, optional): Defaults to None: any number.

    Returns:
        Tensor: Index of each channel's candidate, (C_out,).
    """
    size = len(errors) // groups
    if groups > 1 and 1 < multiple < size:
        parts = zip(errors.split(size), choice.split(size))
        return torch.cat([choose_in_blocks(*part, 1, multiple, max_dilations) for part in parts])
    units = 1
    if groups > 1 and multiple > 1:
        # Groups take a dilation as a whole.
        units, multiple = size, multiple // size
    rows = errors.unflatten(0, (-1, units)).sum(1)
    first = choice[::units]
    counts = first.bincount(minlength=errors.shape[1])
    whole = torch.equal(first.repeat_interleave(units), choice) and not (counts % multiple).any()
    if whole and (max_dilations is None or (counts > 0).sum() <= max_dilations):
        return choice
    found = torch.from_numpy(assign(rows.cpu().numpy(), multiple, max_dilations))
    return found.repeat_interleave(units).to(choice.device)
