"""Dilations in whole blocks of channels against every possible assignment."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmic.search.assign import assign
from mmic.search.edo import search_dilations, search_network
from mmic.supernet import WideConv2d


def blocks_of(choice, multiple):
    """Blocks that the rows of each candidate in use fill."""
    return [-(-choice.count(used) // multiple) for used in set(choice)]


def least_error(errors, multiple, most):
    """Least total over all assignments that need no block too many."""
    totals = [
        sum(row[candidate] for row, candidate in zip(errors, choice))
        for choice in itertools.product(range(len(errors[0])), repeat=len(errors))
        if len(set(choice)) <= most
        and sum(blocks_of(choice, multiple)) == -(-len(errors) // multiple)
    ]
    return min(totals)


def total(errors, choice):
    return sum(row[candidate] for row, candidate in zip(errors, choice))


@pytest.mark.parametrize('most', [None, 1, 2, 3])
@pytest.mark.parametrize('multiple', [1, 2, 3, 6])
def test_six_channels_and_four_dilations_equal_brute_force(multiple, most):
    errors = np.random.default_rng(multiple).random((6, 4)).tolist()
    choice = assign(errors, multiple, most).tolist()
    assert all(choice.count(used) % multiple == 0 for used in choice)
    assert len(set(choice)) <= (most or 4)
    assert total(errors, choice) == pytest.approx(least_error(errors, multiple, most or 4))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=1, max_size=7),
    st.integers(1, 7),
    st.integers(1, 3),
)
def test_equals_brute_force_with_ties_and_remainders(errors, multiple, most):
    multiple = min(multiple, len(errors))
    choice = assign(errors, multiple, most).tolist()
    assert len(choice) == len(errors)
    assert len(set(choice)) <= most
    assert sum(blocks_of(choice, multiple)) == -(-len(errors) // multiple)
    assert total(errors, choice) == pytest.approx(least_error(errors, multiple, most))


def test_equals_integer_programming_of_a_whole_layer():
    """64 channels, 16 dilations, blocks of 16, by HiGHS."""
    from scipy import optimize, sparse

    torch.manual_seed(0)
    weight = torch.randn(64, 2, 9, 9)
    _, errors = search_dilations(weight, layout='position')
    table = candidate_errors(weight)
    assert table.min(1) == pytest.approx(errors.numpy())
    rows, columns = table.shape
    once = sparse.hstack(
        [sparse.kron(sparse.eye(rows), np.ones(columns)), sparse.csr_matrix((rows, columns))]
    )
    blocks = sparse.hstack(
        [sparse.kron(np.ones(rows), sparse.eye(columns)), -16 * sparse.eye(columns)]
    )
    solved = optimize.milp(
        np.concatenate([table.ravel(), np.zeros(columns)]),
        integrality=np.repeat([0, 1], [rows * columns, columns]),
        bounds=optimize.Bounds(0, np.repeat([1, 4], [rows * columns, columns])),
        constraints=[
            optimize.LinearConstraint(once.tocsr(), 1, 1),
            optimize.LinearConstraint(blocks.tocsr(), 0, 0),
        ],
        options={'mip_rel_gap': 0},
    )
    assert solved.status == 0
    choice = assign(table, 16)
    assert set(np.bincount(choice)) <= {0, 16, 32, 48, 64}
    assert table[np.arange(rows), choice].sum() == pytest.approx(solved.fun)
    assert solved.fun > table.min(1).sum() * 1.01


def candidate_errors(weight):
    """Eq. 4 of all 16 dilations of 9x9 kernels by loops, (C_out, 16)."""
    table = []
    for kernel in weight.double().sum(1):
        row = []
        for d_h, d_w in itertools.product(range(1, 5), repeat=2):
            kept = kernel[4 - d_h : 5 + d_h : d_h, 4 - d_w : 5 + d_w : d_w].sum()
            row.append(abs(kernel.sum() - kept).item())
        table.append(row)
    return np.array(table)


@pytest.mark.parametrize('layout', ['sorted', 'position'])
@pytest.mark.parametrize('space', ['full', '1d', 'layer'])
@pytest.mark.parametrize('groups', [1, 4, 48])
def test_multiple_1_is_the_paper_s_search(groups, space, layout):
    torch.manual_seed(1)
    weight = torch.randn(48, 48 // groups, 9, 9)
    plain = search_dilations(weight, 3, space, layout, groups=groups)
    limits = {'groups': groups, 'multiple': 1, 'max_dilations': 16}
    same = search_dilations(weight, 3, space, layout, **limits)
    assert torch.equal(plain[0], same[0])
    assert torch.equal(plain[1], same[1])


@pytest.mark.parametrize('layout', ['sorted', 'position'])
def test_errors_are_those_of_the_dilations_chosen(layout):
    torch.manual_seed(2)
    weight = torch.randn(20, 3, 9, 9)
    dilations, errors = search_dilations(weight, layout=layout, multiple=5, max_dilations=2)
    table = candidate_errors(weight)
    pairs = list(itertools.product(range(1, 5), repeat=2))
    chosen = [pairs.index(tuple(pair)) for pair in dilations.tolist()]
    assert len(set(chosen)) <= 2
    assert all(chosen.count(index) % 5 == 0 for index in chosen)
    if layout == 'position':
        assert errors.tolist() == pytest.approx(table[range(20), chosen].tolist())
    else:
        assert dilations.tolist() == sorted(dilations.tolist())


def test_groups_fill_blocks_of_their_own():
    torch.manual_seed(3)
    weight = torch.randn(32, 4, 5, 5)
    dilations, errors = search_dilations(weight, layout='position', groups=2, multiple=8)
    for half in (slice(0, 16), slice(16, 32)):
        found = dilations[half].tolist()
        assert all(found.count(pair) % 8 == 0 for pair in found)
        alone = search_dilations(weight[half], layout='position', multiple=8)
        assert torch.equal(alone[0], dilations[half])
        assert torch.equal(alone[1], errors[half])


@pytest.mark.parametrize(('groups', 'multiple'), [(12, 4), (6, 4), (24, 6), (4, 6)])
def test_small_groups_are_put_into_blocks_whole(groups, multiple):
    """24 channels; all of a group's take one dilation, whose error is the sum of theirs."""
    torch.manual_seed(4)
    weight = torch.randn(24, 1, 5, 5)
    size = 24 // groups
    dilations, errors = search_dilations(
        weight, layout='position', groups=groups, multiple=multiple, space='1d'
    )
    found = [tuple(pair) for pair in dilations.tolist()]
    assert all(len(set(found[start : start + size])) == 1 for start in range(0, 24, size))
    assert all(found.count(pair) % multiple == 0 for pair in found)
    kernels = weight.double().sum(1)
    table = [
        [abs(k.sum() - k[2 - d : 3 + d : d, 2 - d : 3 + d : d].sum()).item() for d in (1, 2)]
        for k in kernels
    ]
    sums = [
        [sum(row[d] for row in table[s : s + size]) for d in (0, 1)] for s in range(0, 24, size)
    ]
    # With two candidates: the n groups that gain most from the second one, for every n allowed.
    gains = sorted(second - first for first, second in sums)
    step = multiple // size
    best = min(sum(gains[:n]) for n in range(0, groups + 1, step)) + sum(row[0] for row in sums)
    assert errors.sum().item() == pytest.approx(best)


def supernet(*channels, groups=1):
    torch.manual_seed(5)
    return nn.Sequential(*[WideConv2d(c, c, 3, groups=groups, d_max=4) for c in channels])


def test_network_keeps_both_constraints_and_reports_what_they_cost():
    """The widths of a ResNet's first two stages; docs/ic_conv.md has a whole ResNet-101."""
    network = supernet(64, 128)
    free, _ = search_network(network)
    pattern, reports = search_network(network, multiple=16, max_dilations=8)
    for name, report in zip(pattern.layers, reports):
        dilations = pattern.layers[name].dilations
        _, counts = dilations.unique(dim=0, return_counts=True)
        assert (counts % 16 == 0).all()
        assert len(counts) <= 8
        least = free.meta['errors'][name]
        assert report.increase > 0
        assert report.error - report.increase == pytest.approx(least, abs=1e-5)
        assert pattern.meta['increases'][name] == pytest.approx(report.increase, abs=1e-5)
    assert (pattern.meta['multiple'], pattern.meta['max_dilations']) == (16, 8)
    assert set(free.meta['increases'].values()) == {0}


@pytest.mark.parametrize(
    ('groups', 'limits', 'told'),
    [
        (1, {'multiple': 0}, "'0': multiple must be a whole number from 1 up, got 0"),
        (1, {'multiple': 1.5}, 'got 1.5'),
        (1, {'max_dilations': 0}, "'0': max_dilations must be .* got 0"),
        (1, {'multiple': 24}, "'1': multiple is 24, the layer has 16 output channels"),
        (4, {'multiple': 3}, "'0': multiple is 3, the layer has 4 groups of 8 .* divide"),
        (4, {'multiple': 4, 'max_dilations': 2}, '4 groups of 8 .* 1 or at least 8, got 4'),
    ],
)
def test_impossible_numbers_are_refused_by_layer(groups, limits, told):
    with pytest.raises(ValueError, match=told):
        search_network(supernet(32, 16, groups=groups), **limits)
