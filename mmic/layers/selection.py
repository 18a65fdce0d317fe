"""Select channels by the operators of torch that are fast at it.

``index_select`` over channels takes them one by one in memory, which in channels_last costs more
than a small convolution. Many selections are a transposition of the channels, seen as a table, or
a few runs of consecutive ones, and torch copies both at the speed of memory.
"""

from typing import List, NamedTuple, Optional

import torch

from mmic.compat import channel_shuffle, is_channels_last

MOST_RUNS = 8


class Selection(NamedTuple):
    """How channels are selected: a transposition, runs, another transposition.

    Attributes:
        before (int | None): Groups of ``torch.nn.functional.channel_shuffle`` at the start.
        sizes (list[int]): The parts that the channels are split into then.
        parts (list[int]): Which parts follow each other in the result.
        after (int | None): Groups of a shuffle at the end.
    """

    before: Optional[int]
    sizes: List[int]
    parts: List[int]
    after: Optional[int]


def plan_selection(items, count):
    """Find a fast way to select channels.

    Args:
        items (list[int]): The channels in the order wanted, each at most once.
        count (int): How many channels there are to select from.

    Returns:
        Selection | None: None where it takes more than ``MOST_RUNS`` runs.
    """
    found = None
    for groups in [None, *_divisors(count)]:
        place = sorted(range(count), key=_shuffled(count, groups).__getitem__)
        runs = _runs([place[item] for item in items])
        if found is None or len(runs) < len(found[1]):
            found = groups, runs, None
    for groups in _divisors(len(items)):
        order = _shuffled(len(items), groups)
        before = [0] * len(items)
        for position, source in enumerate(order):
            before[source] = items[position]
        runs = _runs(before)
        if len(runs) < len(found[1]):
            found = None, runs, groups
    before, runs, after = found
    if len(runs) > MOST_RUNS:
        return None
    bounds = sorted({0, count}.union(*runs))
    starts = {start: part for part, start in enumerate(bounds)}
    parts = [part for start, stop in runs for part in range(starts[start], starts[stop])]
    return Selection(before, [b - a for a, b in zip(bounds, bounds[1:])], parts, after)


def select_channels(x, selection, shuffled=None):
    """Select channels as planned.

    Args:
        x (Tensor): Shape (N, channels, H, W).
        selection (Selection): From ``plan_selection``.
        shuffled (dict, optional): Transpositions of ``x`` that are made already, by their number
            of groups; it is added to. Defaults to None.

    Returns:
        Tensor: channels_last if ``x`` is.
    """
    if selection.before is not None:
        shuffled = {} if shuffled is None else shuffled
        if selection.before not in shuffled:
            shuffled[selection.before] = channel_shuffle(x, selection.before)
        x = shuffled[selection.before]
    if selection.parts != list(range(len(selection.sizes))):
        # split and not slices: its gradient is one concatenation.
        parts = x.split(selection.sizes, 1)
        chosen = [parts[part] for part in selection.parts]
        x = chosen[0] if len(chosen) == 1 else torch.cat(chosen, 1)
    return x if selection.after is None else channel_shuffle(x, selection.after)


def inverse_order(order):
    """Where each item of an order stands in it."""
    return sorted(range(len(order)), key=order.__getitem__)


def index_channels(x, index):
    """Select channels one by one.

    Args:
        x (Tensor): Shape (N, channels, H, W).
        index (Tensor): The channels, int64.

    Returns:
        Tensor: channels_last if ``x`` is, which ``index_select`` over channels forgets.
    """
    if is_channels_last(x):
        return x.permute(0, 2, 3, 1).index_select(3, index).permute(0, 3, 1, 2)
    return x.index_select(1, index)


def _divisors(count):
    return [number for number in range(2, count // 2 + 1) if count % number == 0]


def _shuffled(count, groups):
    """The channel at each place after ``channel_shuffle``."""
    size = count // groups if groups else count
    return [first + k for k in range(size) for first in range(0, count, size)]


def _runs(items):
    """Ranges of consecutive numbers, as (start, stop)."""
    runs = []
    for item in items:
        if runs and item == runs[-1][1]:
            runs[-1] = runs[-1][0], item + 1
        else:
            runs.append((item, item + 1))
    return runs
