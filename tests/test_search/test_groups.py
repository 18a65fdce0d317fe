"""Layout 'sorted' in grouped convolutions: a filter sees its group's inputs, and stays there."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from mmic.models.inception import to_searched
from mmic.search.edo import search_dilations, search_network

GROUPS = 32


@pytest.fixture(scope='module')
def supernet():
    """The 9x9 supernet of ResNeXt-50 32x4d, with random weights."""
    pytest.importorskip('mmdet')
    from mmic.models import ICResNeXt

    torch.manual_seed(0)
    return ICResNeXt(depth=50, groups=GROUPS, base_width=4, d_max=4)


def randomise_norms(network):
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            for tensor in (norm.bias, norm.running_mean):
                nn.init.normal_(tensor, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)


def group_counts(pattern):
    """How often each group of each layer has each dilation: ``{layer: [Counter, ...]}``."""
    return {
        name: [Counter(map(tuple, part.tolist())) for part in layer.dilations.chunk(GROUPS)]
        for name, layer in pattern.layers.items()
    }


# 4 divides the 4 to 32 channels of a group of each stage; 16 is also larger than some, smaller
# than others.
@pytest.mark.parametrize(
    'limits',
    [
        {},
        {'space': '1d'},
        {'multiple': 4},
        {'multiple': 16},
        {'multiple': 32, 'max_dilations': 3},
        {'space': '1d', 'max_dilations': 2},
    ],
)
def test_groups_of_resnext_keep_the_dilations_found_for_them(supernet, limits):
    found, _ = search_network(supernet, layout='position', **limits)
    kept, _ = search_network(supernet, layout='sorted', **limits)
    assert len(found.layers) == 16
    assert group_counts(kept) == group_counts(found)
    for layer in kept.layers.values():
        for part in layer.dilations.chunk(GROUPS):
            assert part.tolist() == sorted(part.tolist())
    assert (kept.meta['layout'], kept.meta['sorted_within']) == ('sorted', 'groups')
    assert 'sorted_within' not in found.meta


def test_sorted_resnext_is_the_position_one_with_filters_permuted_inside_groups(supernet):
    """conv3 and the norm between absorb the permutation, and the blocks' outputs are equal."""
    from mmic.models.backbones import ResNeXt

    found, _ = search_network(supernet, layout='position')
    kept, _ = search_network(supernet, layout='sorted')
    torch.manual_seed(1)
    plain = ResNeXt(depth=50, groups=GROUPS, base_width=4).double()
    plain.eval()  # mmdet's returns None
    randomise_norms(plain)
    position = to_searched(copy.deepcopy(plain), found)
    ordered = to_searched(plain, kept)
    moved = 0
    for name, layer in found.layers.items():
        pairs, size = layer.dilations.tolist(), layer.out_channels // GROUPS
        order = []
        for start in range(0, len(pairs), size):
            order += sorted(range(start, start + size), key=lambda channel: pairs[channel])
        moved += sum(channel != place for place, channel in enumerate(order))
        block = ordered.get_submodule(name.rpartition('.')[0])
        block.conv2.weight.data = block.conv2.weight[order]
        for tensor in (block.bn2.weight, block.bn2.bias):
            tensor.data = tensor[order]
        for statistic in (block.bn2.running_mean, block.bn2.running_var):
            statistic.copy_(statistic.clone()[order])
        block.conv3.weight.data = block.conv3.weight[:, order]
        assert ordered.get_submodule(name).dilations.tolist() == [pairs[i] for i in order]
    assert moved > 1000
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        pairs = list(zip(position(image), ordered(image)))
    assert len(pairs) == 4
    for first, second in pairs:
        assert first.abs().max() > 0.1
        torch.testing.assert_close(second, first)


def test_depthwise_layers_stay_as_they_are():
    weight = torch.randn(48, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    found, errors = search_dilations(weight, layout='position', groups=48)
    kept, kept_errors = search_dilations(weight, layout='sorted', groups=48)
    assert torch.equal(found, kept)
    assert torch.equal(errors, kept_errors)
