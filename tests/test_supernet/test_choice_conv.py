"""ChoiceConv2d: one dilation runs at a time, with weights of its own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmic.layers import ICConv2d
from mmic.pattern import PatternError
from mmic.supernet import ChoiceConv2d

KINDS = [(1, 1, 3), (2, 1, 3), (1, 4, 3), (2, 8, 3), (1, 2, 5)]


def choice_conv(stride=1, groups=1, size=3, **options):
    """A layer of 8 channels whose candidates have different random weights."""
    torch.manual_seed(0)
    layer = ChoiceConv2d(8, 8, size, stride, size // 2, groups=groups, **options).double()
    for weight in layer.weights:
        nn.init.normal_(weight)
    return layer


@pytest.mark.parametrize(('stride', 'groups', 'size'), KINDS)
def test_a_choice_is_the_dilated_convolution_and_nothing_else_is_trained(stride, groups, size):
    layer = choice_conv(stride, groups, size)
    x = torch.randn(2, 8, 17, 12, dtype=torch.float64)
    for index, dilation in enumerate((1, 2, 3)):
        layer.select(dilation)
        layer.zero_grad()
        weight = layer.weights[index].detach().clone().requires_grad_()
        bias = layer.bias.detach().clone().requires_grad_()
        padding = size // 2 * dilation
        expected = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        torch.testing.assert_close(layer(x), expected)
        layer(x).square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(layer.weights[index].grad, weight.grad)
        torch.testing.assert_close(layer.bias.grad, bias.grad)
        others = [other for place, other in enumerate(layer.weights) if place != index]
        assert [other.grad for other in others] == [None, None]


def test_a_choice_costs_one_convolution():
    layer, x = choice_conv(), torch.randn(1, 8, 10, 10, dtype=torch.float64)
    for dilation in (1, 2, 3):
        layer.select(dilation)
        with FlopCounterMode(display=False) as counter:
            layer(x)
        # Two operations for each multiply-add.
        assert counter.get_total_flops() == 2 * 8 * 8 * 9 * 10 * 10


def test_candidates_are_independent_unless_shared():
    x = torch.randn(1, 8, 9, 9, dtype=torch.float64)
    for shared in (False, True):
        layer = choice_conv(share_weights=shared)
        assert len(layer.weights) == (1 if shared else 3)
        layer.select(3)
        before = layer(x)
        with torch.no_grad():
            layer.weights[0].add_(1)
        assert torch.equal(layer(x), before) is not shared


def test_shared_weight_is_used_with_every_dilation():
    layer, x = choice_conv(share_weights=True), torch.randn(1, 8, 9, 9, dtype=torch.float64)
    for dilation in (1, 2, 3):
        layer.select(dilation)
        expected = F.conv2d(x, layer.weights[0], layer.bias, 1, dilation, dilation)
        torch.testing.assert_close(layer(x), expected)


def test_from_conv_starts_as_the_plain_convolution():
    plain = nn.Conv2d(4, 6, 3, 2, 1)
    layer = ChoiceConv2d.from_conv(plain)
    x = torch.randn(1, 4, 9, 9)
    assert layer.choices == (1, 2, 3)
    torch.testing.assert_close(layer(x), plain(x))
    assert all(torch.equal(weight, plain.weight) for weight in layer.weights)


@pytest.mark.parametrize('shared', [False, True])
def test_plain_checkpoint_fills_all_candidates(shared):
    plain = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1))
    network = nn.Sequential(ChoiceConv2d(4, 6, 3, padding=1, share_weights=shared))
    result = network.load_state_dict(plain.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    assert all(torch.equal(weight, plain[0].weight) for weight in network[0].weights)
    assert torch.equal(network[0].bias, plain[0].bias)


def test_own_checkpoint_round_trip_and_other_candidates_are_refused():
    layer, twin = choice_conv(), choice_conv()
    nn.init.zeros_(twin.weights[2])
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin.weights[2], layer.weights[2])
    network = nn.ModuleDict({'stage': choice_conv(dilations=(1, 2, 4))})
    state = {f'stage.{name}': value for name, value in layer.state_dict().items()}
    with pytest.raises(PatternError, match=r"'stage': .*\[3, 3\]\], .*\(4, 4\)\]"):
        network.load_state_dict(state, strict=False)


@pytest.mark.parametrize('shared', [False, True])
def test_weights_of_a_choice_are_those_of_the_searched_convolution(shared):
    layer = choice_conv(2, 2, share_weights=shared)
    x = torch.randn(2, 8, 11, 9, dtype=torch.float64)
    for dilation in (1, 2, 3):
        searched = ICConv2d(8, 8, 3, 2, 1, groups=2, dilations=[(dilation, dilation)] * 8).double()
        searched.load_state_dict(layer.weights_of(dilation))
        layer.select(dilation)
        torch.testing.assert_close(layer(x), searched(x))


def test_default_is_the_undilated_candidate_or_the_first():
    assert choice_conv(dilations=(2, 1)).choice == 1
    layer = choice_conv(dilations=((1, 3), 2))
    assert layer.choices == ((1, 3), 2)
    assert layer.choice == (1, 3)


@pytest.mark.parametrize('dilation', [0, 4, (1, 2), 1.0, True, None, '1'])
def test_unknown_choice_is_refused_and_changes_nothing(dilation):
    layer = choice_conv()
    layer.select(2)
    with pytest.raises(ValueError, match=r'is not among the choices \(1, 2, 3\)'):
        layer.select(dilation)
    assert layer.choice == 2
