"""Supernet layers by name: in several places, inside of wrappers; weights that are inherited."""

import pytest
import torch
from mmengine.model import StochasticWeightAverage
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mmic.layers import ICConv2d
from mmic.models.inception import to_searched, to_supernet
from mmic.models.nats import to_mixed
from mmic.search.checkpoint import searched_weights, supernet_convs
from mmic.search.edo import search_network
from mmic.search.nats import search_network as search_nats
from mmic.supernet import WideConv2d


class Shared(nn.Module):
    """Two levels with one convolution, as in RTMDet's heads."""

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 6, 3, padding=1)) for _ in '12'])
        self.levels[1][0] = self.levels[0][0]


def test_shared_layers_are_sliced_under_each_of_their_names():
    supernet = to_supernet(Shared(), 3)
    pattern, _ = search_network(supernet, layout='position')
    assert list(pattern.layers) == ['levels.0.0']
    weights = searched_weights(supernet.state_dict(), supernet_convs(supernet, WideConv2d), pattern)
    searched = to_searched(Shared(), pattern)
    searched.load_state_dict(weights, strict=True)
    assert searched.levels[0][0] is searched.levels[1][0]
    wide, (d_h, d_w) = supernet.levels[0][0].weight, pattern.layers['levels.0.0'].dilations[4]
    taps = wide[4][:, 3 - d_h : 4 + d_h : d_h, 3 - d_w : 4 + d_w : d_w]
    assert torch.equal(searched.levels[1][0].weight[4], taps)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.neck = nn.Conv2d(8, 8, 3, padding=1)


class FSDPUnit(nn.Module):
    """Names as FSDP's wrapper gives them."""

    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


def inside(wrap):
    def change(network):
        network.backbone = wrap(network.backbone)
        return network

    return change


WRAPS = [
    nn.DataParallel,
    torch.compile,
    AveragedModel,
    StochasticWeightAverage,
    FSDPUnit,
    lambda network: nn.DataParallel(torch.compile(network)),
    inside(torch.compile),
    inside(FSDPUnit),
]


@pytest.mark.parametrize('wrap', WRAPS)
@pytest.mark.parametrize('scope', ['', 'backbone'])
def test_wrapped_supernets_are_searched_under_the_networks_names(wrap, scope):
    torch.manual_seed(0)
    expected = {'0'} if scope else {'backbone.0', 'neck'}
    edo, _ = search_network(wrap(to_supernet(Parts(), 2)), scope=scope)
    assert edo.layers.keys() == expected
    nats, _ = search_nats(wrap(to_mixed(Parts(), [1, 2], num_groups=2)), scope=scope)
    assert nats.layers.keys() == expected
    for pattern in (edo, nats):
        searched = to_searched(Parts(), pattern)
        assert isinstance(searched.backbone[0], ICConv2d)
        assert isinstance(searched.neck, ICConv2d) == (not scope)
    found = supernet_convs(wrap(to_supernet(Parts(), 2)), WideConv2d)
    assert found.keys() == {'backbone.0', 'neck'}


@pytest.mark.parametrize('wrap', [nn.DataParallel, torch.compile, inside(torch.compile)])
def test_wrapped_network_takes_a_pattern(wrap):
    pattern, _ = search_network(to_supernet(Parts(), 2))
    network = Parts()
    wrapped = wrap(network)
    assert to_searched(wrapped, pattern) is wrapped
    assert sum(isinstance(part, ICConv2d) for part in network.modules()) == 2
