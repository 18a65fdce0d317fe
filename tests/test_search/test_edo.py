"""EDO against real convolutions of ``W - W~`` with an all-ones input (paper, Eq. 4)."""

import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmic.search.edo import search_dilations, search_network, uniform_p_value
from mmic.supernet import WideConv2d


def convolved_errors(weight, pair, size, groups):
    """Response of each filter of ``W - W~`` to ones, read at an interior position."""
    side, radius = weight.shape[-1], size // 2
    kept = torch.zeros_like(weight)
    for u, v in itertools.product(range(-radius, radius + 1), repeat=2):
        row, column = side // 2 + u * pair[0], side // 2 + v * pair[1]
        kept[:, :, row, column] = weight[:, :, row, column]
    ones = torch.ones(1, weight.shape[1] * groups, side + 2, side + 2, dtype=torch.float64)
    response = F.conv2d(ones, (weight - kept).double(), groups=groups)
    return response[0, :, 1, 1].abs()


def brute_force(weight, d_max, size=3, space='full', groups=1):
    """Try every candidate by convolution, preferring small d_h + d_w, then d_h, then d_w."""
    pairs = sorted(
        itertools.product(range(1, d_max + 1), repeat=2), key=lambda pair: (sum(pair), *pair)
    )
    if space == '1d':
        pairs = [pair for pair in pairs if pair[0] == pair[1]]
    errors = torch.stack([convolved_errors(weight, pair, size, groups) for pair in pairs], 1)
    if space == 'layer':
        best = errors.sum(0).argmin().expand(len(weight))
    else:
        best = errors.argmin(1)
    return torch.tensor(pairs)[best], errors.gather(1, best[:, None])[:, 0]


@pytest.mark.parametrize('space', ['full', '1d', 'layer'])
@pytest.mark.parametrize('groups', [1, 4, 16])
@pytest.mark.parametrize('d_max', [1, 2, 3, 4, 5, 6])
def test_equals_convolution_of_what_is_left_out(d_max, groups, space):
    torch.manual_seed(d_max)
    weight = torch.randn(16, 16 // groups, 2 * d_max + 1, 2 * d_max + 1)
    dilations, errors = search_dilations(weight, 3, space, 'position')
    expected, left = brute_force(weight, d_max, 3, space, groups)
    assert torch.equal(dilations, expected)
    torch.testing.assert_close(errors, left)
    assert errors.dtype == torch.float64


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 3), st.sampled_from([3, 5]))
def test_equals_convolution_in_any_case(seed, d_max, size):
    torch.manual_seed(seed)
    side = (size - 1) * d_max + 1
    weight = torch.randn(5, 3, side, side, dtype=torch.float64)
    dilations, errors = search_dilations(weight, size, layout='position')
    expected, left = brute_force(weight, d_max, size)
    torch.testing.assert_close(errors, left)
    assert torch.equal(dilations, expected)


def test_signed_sum_is_taken_over_inputs_before_the_norm():
    """Weights left out may cancel, across taps and across input channels."""
    weight = torch.zeros(1, 2, 5, 5)
    weight[0, 0, 2, 2] = 1
    weight[0, 0, 0, 0], weight[0, 1, 0, 0] = 3, -3  # cancel across input channels
    weight[0, 0, 1, 1] = 0.5  # kept by (1, 1) alone
    dilations, errors = search_dilations(weight)
    assert dilations.tolist() == [[1, 1]]
    assert errors.item() == 0
    by_size, _ = search_dilations(weight, criterion='l1_weight')
    assert by_size.tolist() == [[2, 2]]


@pytest.mark.parametrize('d_max', [1, 4])
def test_ties_go_to_the_smallest_dilation(d_max):
    dilations, errors = search_dilations(torch.zeros(3, 2, 2 * d_max + 1, 2 * d_max + 1))
    assert (dilations == 1).all()
    assert (errors == 0).all()


def test_ties_between_axes_go_to_the_smaller_d_h():
    """A filter equal to its transpose has equal errors for (1, 2) and (2, 1)."""
    torch.manual_seed(0)
    row = torch.randn(64, 3, 5, 5)
    weight = row + row.transpose(2, 3)
    dilations, _ = search_dilations(weight, layout='position')
    assert not (dilations == torch.tensor([2, 1])).all(1).any()
    assert (dilations == torch.tensor([1, 2])).all(1).any()


def test_position_and_sorted_hold_the_same_choices():
    weight = torch.randn(64, 4, 9, 9)
    found, errors = search_dilations(weight, layout='position')
    ordered, ordered_errors = search_dilations(weight, layout='sorted')
    assert ordered.tolist() == sorted(found.tolist())
    assert sorted(ordered_errors.tolist()) == sorted(errors.tolist())
    assert not torch.equal(found, ordered)


def test_recovers_the_dilations_of_embedded_filters():
    truth = torch.tensor(list(itertools.product((1, 2, 3, 4), repeat=2)))
    weight = torch.zeros(16, 3, 9, 9)
    for channel, (d_h, d_w) in enumerate(truth.tolist()):
        weight[channel, :, 4 - d_h : 5 + d_h : d_h, 4 - d_w : 5 + d_w : d_w] = (
            torch.rand(3, 3, 3) + 1
        )
    dilations, errors = search_dilations(weight, layout='position')
    assert torch.equal(dilations, truth)
    assert (errors == 0).all()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_broken_weights_are_refused_by_layer_name(value):
    network = nn.ModuleDict({'stage': WideConv2d(4, 8, 3, d_max=2)})
    with torch.no_grad():
        network['stage'].weight[3, 1, 0, 0] = value
    with pytest.raises(ValueError, match="'stage'.*NaN or infinite"):
        search_network(network)


@pytest.mark.parametrize(
    ('weight', 'arguments', 'message'),
    [
        (torch.zeros(4, 2, 4, 4), {}, '4x4 kernel holds no dilations'),
        (torch.zeros(4, 2, 9, 7), {}, r'\(4, 2, 9, 7\)'),
        (torch.zeros(4, 2, 7, 7), {'kernel_size': 5}, '7x7 kernel'),
        (torch.zeros(4, 2, 9, 9), {'kernel_size': 4}, 'odd and from 3 up, got 4'),
        (torch.zeros(4, 2, 9, 9), {'space': '2d'}, "space must be one of .*'2d'"),
        (torch.zeros(4, 2, 9, 9), {'layout': 'mixed'}, "layout must be one of .*'mixed'"),
        (torch.zeros(4, 2, 9, 9), {'criterion': 'l2'}, "criterion must be .*'l2'"),
    ],
)
def test_impossible_input_is_refused(weight, arguments, message):
    with pytest.raises(ValueError, match=message):
        search_dilations(weight, **arguments)


def test_network_search_writes_what_the_layers_say(tmp_path):
    network = nn.ModuleDict({'a': WideConv2d(4, 8, 3, d_max=2), 'b': nn.Conv2d(8, 8, 3)})
    network['c'] = WideConv2d(8, 8, 3, groups=4, d_max=2)
    seen = []
    pattern, reports = search_network(network, meta={'checkpoint': 'x'}, progress=seen.append)
    assert list(pattern.layers) == ['a', 'c']
    assert seen == reports
    expected, errors = search_dilations(network['c'].weight, groups=4)
    assert torch.equal(pattern.layers['c'].dilations, expected)
    assert pattern.layers['c'].groups == 4
    assert reports[1].error == pytest.approx(errors.sum().item())
    assert (pattern.meta['layout'], pattern.meta['sorted_within']) == ('sorted', 'groups')
    assert pattern.meta['checkpoint'] == 'x'


def test_network_without_supernet_layers_is_refused():
    with pytest.raises(ValueError, match='no supernet layers'):
        search_network(nn.Sequential(nn.Conv2d(4, 4, 3)))


def test_uniform_p_value_is_the_chi_square_test():
    scipy = pytest.importorskip('scipy.stats')
    torch.manual_seed(0)
    pairs = torch.tensor(list(itertools.product((1, 2, 3, 4), repeat=2)))
    dilations = torch.randint(1, 5, (128, 2))
    counts = [(dilations == pair).all(1).sum().item() for pair in pairs]
    assert uniform_p_value(dilations, pairs) == pytest.approx(scipy.chisquare(counts).pvalue)
    assert uniform_p_value(torch.ones(128, 2).long(), pairs) < 1e-9


def test_extra_memory_stays_under_a_quarter_of_the_weights():
    """In a process of its own, since the peak memory of a process only grows."""
    script = """
import torch
from mmic.analysis.benchmark import extra_memory
from mmic.search.edo import search_dilations
search_dilations(torch.randn(64, 64, 9, 9))
weights = [torch.empty(512, 512, 9, 9).normal_() for _ in range(2)]
extra = extra_memory(lambda: [search_dilations(weight) for weight in weights])
print(extra / sum(weight.numel() * 4 for weight in weights))
"""
    result = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.25
