"""Where the dilations that a search found stand in the searched layer."""

import torch

from mmic.pattern import SORTED_IN_GROUPS

LAYOUTS = ('sorted', 'position')


def check_layout(layout):
    """Raise ValueError unless ``layout`` is one of ``LAYOUTS``."""
    if layout not in LAYOUTS:
        raise ValueError(f'layout must be one of {LAYOUTS}, got {layout!r}.')


def order_in_groups(keys, groups):
    """Sort output channels so that each stays in its group of the convolution.

    A grouped convolution is ``groups`` convolutions side by side, each with inputs of its own, so
    a filter may change places with those of its group alone. Depthwise layers stay as they are.

    Args:
        keys (Tensor): What to sort by, small integers of shape (C_out,).
        groups (int): Of the convolution; divides C_out.

    Returns:
        Tensor: A permutation, int64 of shape (C_out,): the channel that takes each place. Channels
        of one key keep their order.
    """
    size = len(keys) // groups
    order = keys.reshape(groups, size).argsort(dim=1, stable=True)
    starts = torch.arange(groups, device=keys.device)[:, None] * size
    return (order + starts).flatten()


def layout_meta(layout):
    """What a pattern's ``meta`` says of its layout; of ``'sorted'`` also by which rule."""
    return dict(SORTED_IN_GROUPS) if layout == 'sorted' else {'layout': layout}
