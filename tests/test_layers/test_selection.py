"""Selections of channels: the fast operators select what an index selects, gradients included."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmic.layers.selection import MOST_RUNS, plan_selection, select_channels

SHAPE = 3, 2  # height and width


def transposed(count, groups):
    """Channels 0, count / groups, ..., 1, ...: a table of ``groups`` rows read by columns."""
    return [row * (count // groups) + k for k in range(count // groups) for row in range(groups)]


def check(items, count, channels_last=False):
    x = torch.randn(2, count, *SHAPE, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    expected = x[:, items]
    selection = plan_selection(items, count)
    if selection is None:
        return None
    found = select_channels(x, selection)
    assert torch.equal(found, expected)
    direction = torch.randn_like(expected)
    gradient = torch.autograd.grad(expected, x, direction)
    assert torch.equal(torch.autograd.grad(found, x, direction)[0], gradient[0])
    return selection, found


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    groups=st.sampled_from([None, 2, 3, 4]),
    where=st.sampled_from(['before', 'after']),
    seed=st.integers(0, 99),
)
def test_runs_and_transpositions_are_found(sizes, groups, where, seed):
    """Runs of channels in any order, transposed as a table before or after."""
    count = sum(sizes) * 12
    bounds = [12 * sum(sizes[:number]) for number in range(len(sizes) + 1)]
    runs = list(zip(bounds, bounds[1:]))
    random.Random(seed).shuffle(runs)
    runs = runs[: 1 + seed % len(runs)]
    items = [k for start, stop in runs for k in range(start, stop)]
    if groups and where == 'before':
        table = transposed(count, groups)
        items = [table[item] for item in items]
    elif groups:
        items = [items[place] for place in transposed(len(items), groups)]
    assert check(items, count, seed % 2 == 0) is not None


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24).flatmap(lambda n: st.permutations(range(n))), st.integers(0, 24))
def test_whatever_is_planned_selects_the_same(items, length):
    check(items[: max(1, length)], len(items))


def test_without_structure_there_is_no_plan():
    items = random.Random(0).sample(range(256), 256)
    assert plan_selection(items, 256) is None


def test_as_many_runs_as_may_be():
    blocks = [list(range(start, start + 5)) for start in range(0, 70, 5)]
    blocks = blocks[1::2] + blocks[::2]
    reverse = [channel for block in blocks[::-1] for channel in block]
    assert len(plan_selection(reverse[: 5 * MOST_RUNS], 70).parts) == MOST_RUNS
    assert plan_selection(reverse[: 5 * MOST_RUNS + 5], 70) is None


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(
    'items', [transposed(16, 4), transposed(16, 8), [*range(8, 16), *range(8)]]
)
def test_layout_stays(items, channels_last):
    _, found = check(items, 16, channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert found.contiguous(memory_format=layout).stride() == found.stride()


def test_transpositions_are_shared():
    x = torch.randn(1, 16, *SHAPE)
    shuffled = {}
    first, second = transposed(16, 4)[:8], transposed(16, 4)[8:]
    for items in (first, second):
        found = select_channels(x, plan_selection(items, 16), shuffled)
        assert torch.equal(found, x[:, items])
    assert len(shuffled) == 1
