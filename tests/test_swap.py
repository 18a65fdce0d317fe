"""swap_convs: the one walk that replaces convolutions."""

import pytest
import torch
from torch import nn

from mmic.layers import ICConv2d
from mmic.models.selection import searched_convs, selector
from mmic.supernet import WideConv2d
from mmic.swap import swap_convs


def searched(name, conv):
    return ICConv2d.from_conv(conv, torch.ones(conv.out_channels, 2).long())


class Shared(nn.Module):
    """A convolution in two places, as in RTMDet's heads, and one inside a shared module."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Sequential(self.first, nn.ReLU())
        self.third = nn.ModuleList([self.second, self.second])
        self.point = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.point(self.second(self.first(x)))


def test_no_selection_changes_nothing():
    network = Shared()
    before = dict(network.named_modules())
    assert swap_convs(network, searched, lambda name, conv: False) is network
    assert dict(network.named_modules()) == before


def test_keeps_parameters_as_the_same_objects():
    network = Shared()
    parameters = dict(network.named_parameters())
    x = torch.randn(1, 4, 6, 6)
    expected = network(x)
    swap_convs(network, searched, lambda name, conv: conv.kernel_size == (3, 3))
    assert isinstance(network.first, ICConv2d)
    assert type(network.point) is nn.Conv2d
    assert all(value is parameters[name] for name, value in network.named_parameters())
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize('named', ['first', 'second.0', 'third.1.0'])
def test_shared_convolution_is_replaced_once_whatever_it_is_called(named):
    network, calls = Shared(), []

    def replace(name, conv):
        calls.append(name)
        return searched(name, conv)

    swap_convs(network, replace, lambda name, conv: name == named)
    assert calls == [named]
    assert isinstance(network.first, ICConv2d)
    assert network.first is network.second[0]
    assert network.third[1][0] is network.first


def test_replacement_is_not_replaced_again():
    """An ICConv2d is an nn.Conv2d too."""
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    swap_convs(network, searched)
    swap_convs(network, lambda name, conv: None)
    assert all(type(module) is ICConv2d for module in network)


def test_root_convolution():
    conv = nn.Conv2d(4, 4, 3, bias=False)
    new = swap_convs(conv, searched)
    assert isinstance(new, ICConv2d)
    assert new.weight is conv.weight


def test_keeps_dtype_training_flag_and_requires_grad():
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)).double()
    network[0].eval().requires_grad_(False)
    swap_convs(network, lambda name, conv: WideConv2d.from_conv(conv, 4))
    frozen, free = network
    assert frozen.weight.dtype == frozen.bias.dtype == torch.float64
    assert frozen.weight.shape == (4, 4, 9, 9)
    assert not frozen.training
    assert free.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_meta_device():
    with torch.device('meta'):
        network = nn.Sequential(nn.Conv2d(4, 4, 3))
    swap_convs(network, lambda name, conv: WideConv2d.from_conv(conv, 4))
    assert network[0].weight.is_meta
    assert network[0].weight.shape == (4, 4, 9, 9)


def test_hooks_and_parametrizations_are_not_lost_silently():
    for spoil in (
        lambda conv: conv.register_forward_hook(lambda *_: None),
        lambda conv: nn.utils.parametrizations.spectral_norm(conv),
    ):
        network = nn.ModuleDict({'stage': nn.Conv2d(4, 4, 3)})
        spoil(network['stage'])
        with pytest.raises(ValueError, match="'stage' carries hooks or a parametrization"):
            swap_convs(network, searched)


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_offset = nn.Conv2d(4, 18, 3, padding=1)


def test_selection_by_name():
    network = nn.ModuleDict({'neck': Shared(), 'dcn': Deformable(), 'big': nn.Conv2d(4, 4, 5)})
    found = [
        ('the 3x3 ones, offsets left alone', None, ['neck.first']),
        ('an offset that is named', 'dcn.conv_offset', ['dcn.conv_offset']),
        ('several, 1x1 skipped', ['neck', 'big'], ['neck.first', 'big']),
    ]
    for case, select, names in found:
        assert list(searched_convs(network, selector(select))) == names, case


@pytest.mark.parametrize(
    ('conv', 'message'),
    [
        (nn.Conv2d(4, 4, 3, dilation=2), r"'stage': .*dilation=\(2, 2\)"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'), "'stage': padding_mode"),
        (nn.Conv2d(4, 4, (3, 5)), r"'stage': .*kernel_size=\(3, 5\)"),
        (nn.Conv2d(4, 4, 2), r"'stage': .*kernel_size=\(2, 2\)"),
        (nn.Conv2d(4, 4, 1), 'matches no convolution'),
    ],
)
def test_selected_layers_without_a_choice_are_refused_by_name(conv, message):
    with pytest.raises(ValueError, match=message):
        searched_convs(nn.ModuleDict({'stage': conv}), selector('stage'))
