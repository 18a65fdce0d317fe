"""MaskedPSConv2d: each kernel has the dilation of its mask; the mask trains as documented."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmic.layers import MaskedPSConv2d
from mmic.layers.masked_ps_conv import binarize
from mmic.pattern import PatternError


def randomise(conv):
    for factor in (conv.mask_outer, conv.mask_inner):
        nn.init.normal_(factor)
        factor.data.view(-1)[0] = 1.5  # Not all negative, a factor of one number included.
    return conv


def naive_mask(conv):
    """Kernel (c, k) by loops: the Kronecker product of the factors' signs."""
    p = len(conv.mask_inner)
    rows, columns = conv.weight.shape[:2]
    outer, inner = (conv.mask_outer > 0).tolist(), (conv.mask_inner > 0).tolist()
    mask = [
        [outer[c // p][k // p] * inner[c % p][k % p] for k in range(columns)] for c in range(rows)
    ]
    return torch.tensor(mask)


def loop_over_kernels(x, conv):
    """Each kernel's own convolution with its own dilation, summed over input channels."""
    mask = naive_mask(conv).tolist()
    out_channels, depth = conv.weight.shape[:2]
    outputs = []
    for c in range(out_channels):
        first = c // (out_channels // conv.groups) * depth
        total = conv.bias[c]
        for k in range(depth):
            rate = conv.rates[mask[c][k]]
            kernel = conv.weight[c, k][None, None]
            channel = x[:, first + k][:, None]
            padding = [pad + rate - 1 for pad in conv.padding]
            total = total + F.conv2d(channel, kernel, None, conv.stride, padding, rate)
        outputs.append(total)
    return torch.cat(outputs, 1)


@pytest.mark.parametrize(('factor', 'groups'), [(4, 1), (2, 2), (1, 2), (8, 1)])
@pytest.mark.parametrize('rates', [(1, 2), (3, 1)])
def test_equals_the_loop_over_kernels(rates, factor, groups):
    torch.manual_seed(0)
    conv = MaskedPSConv2d(8, 16, 3, 2, 1, groups=groups, rates=rates, factor=factor)
    randomise(conv).double()
    mask = conv.mask()
    assert 0 < mask.mean() < 1
    assert torch.equal(mask, naive_mask(conv).double())
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64, requires_grad=True)
    expected, output = loop_over_kernels(x, conv), conv(x)
    torch.testing.assert_close(output, expected)
    seed = torch.randn_like(expected)
    leaves = [x, conv.weight, conv.bias]
    for mine, theirs in zip(
        torch.autograd.grad(output, leaves, seed), torch.autograd.grad(expected, leaves, seed)
    ):
        torch.testing.assert_close(mine, theirs)


def test_gradient_passes_straight_through_up_to_one():
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.01], requires_grad=True)
    output = binarize(x)
    assert output.tolist() == [0, 0, 0, 0, 1, 1, 1]
    output.backward(torch.arange(1.0, 8.0))
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_mask_gets_the_gradient_of_the_kernels_it_chooses():
    """With the mask as numbers: d/dM of conv(G (1 - M), rate 1) + conv(G M, rate 2)."""
    torch.manual_seed(0)
    conv = randomise(MaskedPSConv2d(4, 8, 3, padding=1, factor=2)).double()
    x = torch.randn(1, 4, 6, 6).double()
    outer = (conv.mask_outer > 0).double().requires_grad_()
    inner = (conv.mask_inner > 0).double().requires_grad_()
    mask = torch.kron(outer, inner)[:, :, None, None]
    expected = F.conv2d(x, conv.weight * (1 - mask), conv.bias, 1, 1)
    expected = expected + F.conv2d(x, conv.weight * mask, None, 1, 2, 2)
    seed = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, [outer, inner], seed)
    got = torch.autograd.grad(conv(x), [conv.mask_outer, conv.mask_inner], seed)
    for mine, theirs, factor in zip(got, wanted, (conv.mask_outer, conv.mask_inner)):
        torch.testing.assert_close(mine, theirs * (factor.abs() <= 1))
    assert any(gradient.abs().sum() > 0 for gradient in got)


def test_training_changes_the_mask():
    """One kernel position is asked for dilation 2 and gets it."""
    torch.manual_seed(0)
    conv = MaskedPSConv2d(2, 2, 3, padding=2, factor=1, bias=False).double()
    with torch.no_grad():
        conv.mask_outer.fill_(-0.05)
        conv.mask_inner.fill_(0.05)
    assert conv.mask().sum() == 0
    x = torch.randn(4, 2, 9, 9).double()
    target = F.conv2d(x, conv.weight.detach(), None, 1, 3, 2)
    optimizer = torch.optim.SGD([conv.mask_outer], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        (conv(x) - target).square().mean().backward()
        optimizer.step()
    assert conv.mask().sum() == 4
    torch.testing.assert_close(conv(x), target)


def test_from_conv_keeps_the_weights():
    plain = nn.Conv2d(8, 8, 3, 2, 1, groups=2, bias=False)
    conv = MaskedPSConv2d.from_conv(plain, rates=(1, 3), factor=2)
    assert torch.equal(conv.weight, plain.weight)
    assert (conv.rates, conv.groups, conv.stride) == ((1, 3), 2, (2, 2))
    assert conv.mask().shape == (8, 4)


def test_checkpoint_round_trip_autocast_and_copy():
    conv, twin = (randomise(MaskedPSConv2d(4, 4, 3, padding=1)) for _ in range(2))
    twin.load_state_dict(conv.state_dict())
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(twin(x), conv(x))
    torch.testing.assert_close(copy.deepcopy(conv).double()(x.double()).float(), conv(x))
    with torch.autocast('cpu', torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    assert conv(x[:0]).shape == (0, 4, 6, 6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'factor': 3}, '8 output channels and 8 input channels of a group, got 3'),
        ({'factor': 8, 'groups': 2}, '8 output channels and 4 input channels .* got 8'),
        ({'factor': 0}, 'got 0'),
        ({'factor': -4}, 'got -4'),
        ({'factor': 2.0}, 'got 2.0'),
        ({'factor': True}, 'got True'),
    ],
)
def test_bad_factors_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f'factor must divide .*{message}'):
        MaskedPSConv2d(8, 8, 3, **arguments)


@pytest.mark.parametrize('rates', [(), (1,), (1, 2, 4), (1, 0), (1, 1.5), (1, True)])
def test_bad_rates_are_refused(rates):
    with pytest.raises(PatternError, match='rates'):
        MaskedPSConv2d(8, 8, 3, rates=rates)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match=r'odd size.*\(4, 4\)'):
        MaskedPSConv2d(8, 8, 4)
