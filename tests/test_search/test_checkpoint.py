"""Inherited weights of layers that stand in several places."""

import torch
from torch import nn

from mmic.models.inception import to_searched, to_supernet
from mmic.search.checkpoint import searched_weights, supernet_convs
from mmic.search.edo import search_network
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
