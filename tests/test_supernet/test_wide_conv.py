"""WideConv2d: sizes, initialisation, and what a plain checkpoint becomes in it."""

import pytest
import torch
from torch import nn

from mmic.layers import ICConv2d
from mmic.supernet import WideConv2d
from mmic.supernet.wide_conv import sample_taps


@pytest.mark.parametrize(('d_max', 'side'), [(1, 3), (2, 5), (3, 7), (4, 9), (5, 11), (6, 13)])
@pytest.mark.parametrize('stride', [1, 2])
def test_kernel_grows_and_output_size_stays(d_max, side, stride):
    plain = nn.Conv2d(4, 6, 3, stride, 1)
    wide = WideConv2d(4, 6, 3, stride, 1, d_max=d_max)
    assert wide.weight.shape == (6, 4, side, side)
    x = torch.randn(1, 4, 15, 10)
    assert wide(x).shape == plain(x).shape


@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('groups', [1, 2, 4])
def test_embedded_plain_weights_are_the_same_function(size, groups):
    plain = nn.Conv2d(4, 8, size, 2, size // 2, groups=groups).double()
    wide = WideConv2d.from_conv(plain, 3)
    x = torch.randn(2, 4, 13, 9).double()
    torch.testing.assert_close(wide(x), plain(x))


def test_initialised_over_the_whole_kernel():
    wide = WideConv2d.from_conv(nn.Conv2d(8, 8, 3), 4, embed=False)
    assert (wide.weight != 0).all()


def test_plain_checkpoint_is_embedded_and_its_owner_keeps_it():
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1))
    network = nn.Sequential(WideConv2d(4, 8, 3, padding=1, d_max=4))
    state = plain.state_dict()
    result = network.load_state_dict(state)
    assert not result.missing_keys + result.unexpected_keys
    assert state['0.weight'].shape == (8, 4, 3, 3)
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(network(x), plain(x))


def test_own_checkpoint_round_trip():
    wide, twin = (WideConv2d(4, 8, 3, d_max=2) for _ in range(2))
    twin.load_state_dict(wide.state_dict())
    assert torch.equal(twin.weight, wide.weight)


def test_checkpoint_of_another_d_max_is_refused():
    network = nn.ModuleDict({'stage': WideConv2d(4, 8, 3, d_max=4)})
    state = {'stage.weight': torch.zeros(8, 4, 13, 13), 'stage.bias': torch.zeros(8)}
    with pytest.raises(ValueError, match="'stage': a 13x13 kernel.*9x9.*d_max=4"):
        network.load_state_dict(state, strict=False)


@pytest.mark.parametrize('d_max', [0, -1, 1.5, True, '4', None])
def test_impossible_d_max_is_refused(d_max):
    with pytest.raises(ValueError, match=f'd_max.*got {d_max!r}'):
        WideConv2d(4, 4, 3, d_max=d_max)


@pytest.mark.parametrize('groups', [1, 4])
def test_sampled_taps_make_the_searched_layer(groups):
    """A supernet whose other taps are zero and the searched layer are the same function."""
    torch.manual_seed(0)
    dilations = torch.randint(1, 4, (8, 2))
    searched = ICConv2d(4, 8, 3, padding=1, groups=groups, dilations=dilations).double()
    wide = WideConv2d(4, 8, 3, padding=1, groups=groups, d_max=3).double()
    with torch.no_grad():
        wide.bias.copy_(searched.bias)
        keep = torch.zeros(8, 7, 7, dtype=torch.bool)
        for channel, (d_h, d_w) in enumerate(dilations.tolist()):
            for u in (-1, 0, 1):
                for v in (-1, 0, 1):
                    keep[channel, 3 + u * d_h, 3 + v * d_w] = True
        wide.weight.mul_(keep[:, None])
        searched.weight.copy_(sample_taps(wide.weight, dilations))
    x = torch.randn(1, 4, 10, 8).double()
    torch.testing.assert_close(searched(x), wide(x))
