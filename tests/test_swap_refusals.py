"""A swap keeps what a convolution computes, or refuses and names the layer."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmic.deploy import fuse
from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.models.convs import to_swapped
from mmic.models.inception import to_searched, to_supernet
from mmic.models.nats import to_mixed
from mmic.pattern import DilationPattern, LayerPattern
from mmic.swap import swap_convs
from mmic.wrappers import named_parts

DO, PS = dict(type='DOConv2d'), dict(type='PSConv2d', pattern=(1, 2))


def one_pattern(name, count=8):
    return DilationPattern({name: LayerPattern([(1, 1)] * count, (3, 3), 8, 1)}, 'edo')


def to_searched_conv(network):
    """All dilations 1: the plain network's function."""
    return to_searched(network, one_pattern('stage.conv'))


SWAPS = {
    'supernet': lambda network: to_supernet(network, 2, embed=True),
    'random supernet': lambda network: to_supernet(network, 2),
    'NATS': lambda network: to_mixed(network, [1, 2], num_groups=2),
    'searched': to_searched_conv,
    'PSConv': lambda network: to_swapped(network, PS),
    'DO-Conv': lambda network: to_swapped(network, DO),
}


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class LatePadding(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(F.pad(x, (0, 1, 0, 1)), weight, bias)


class Renamed(nn.Conv2d):
    """Adds nothing to the function."""

    def extra_repr(self):
        return 'mine'


def patched():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    plain = conv.forward
    conv.forward = lambda x: 2 * plain(x)
    return conv


def pruned():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    conv.weight = nn.Parameter(conv.weight[:6].detach())
    return conv


def short_bias():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    conv.bias = nn.Parameter(torch.zeros(1))
    return conv


def weightless():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    weight = conv.weight.detach()
    del conv.weight
    conv.weight = weight
    return conv


def mmcv_layer(name, **arguments):
    def make():
        bricks = pytest.importorskip('mmcv.cnn.bricks')
        return getattr(bricks, name)(8, 8, 3, padding=1, **arguments)

    return make


REFUSED = {
    'weight standardisation': (lambda: Standardised(8, 8, 3, padding=1), 'own forward'),
    'padding at run time': (lambda: LatePadding(8, 8, 3, padding=1), 'own _conv_forward'),
    'patched': (patched, 'own forward'),
    'pruned': (pruned, r'shape \(8, 8, 3, 3\), has of shape \(6, 8, 3, 3\)'),
    'bias': (short_bias, r'bias of shape \(1,\)'),
    'no parameter': (weightless, 'has none'),
    'lazy': (lambda: nn.LazyConv2d(8, 3, padding=1), 'no weight yet: run a batch'),
    'complex': (lambda: nn.Conv2d(8, 8, 3, padding=1, dtype=torch.complex64), 'complex64'),
    'weight norm': (lambda: nn.utils.weight_norm(nn.Conv2d(8, 8, 3, padding=1)), 'hooks'),
    'spectral norm': (lambda: nn.utils.spectral_norm(nn.Conv2d(8, 8, 3, padding=1)), 'hooks'),
    'parametrized': (
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1)),
        'parametrization',
    ),
    'mmcv ConvWS': (mmcv_layer('ConvWS2d'), 'own forward'),
    'mmcv ConvAWS': (mmcv_layer('ConvAWS2d'), 'own forward'),
    'mmcv adaptive padding': (mmcv_layer('Conv2dAdaptivePadding'), 'own forward'),
    'IC-Conv': (
        lambda: ICConv2d(8, 8, 3, padding=1, dilations=[(1, 1)] * 4 + [(3, 3)] * 4),
        'is mmic.layers.*ICConv2d already',
    ),
    'PSConv': (lambda: PSConv2d(8, 8, 3, padding=1), 'PSConv2d already'),
    'masked PSConv': (lambda: MaskedPSConv2d(8, 8, 3, padding=1), 'MaskedPSConv2d already'),
    'DO-Conv': (lambda: DOConv2d(8, 8, 3, padding=1), r'DOConv2d already.*mmic\.deploy\.fuse'),
    'DO-Conv, d_mul': (lambda: DOConv2d(8, 8, 3, padding=1, d_mul=12), 'DOConv2d already'),
}


def network_of(conv):
    return nn.ModuleDict({'stage': nn.ModuleDict({'conv': conv})})


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('swap', SWAPS)
@pytest.mark.parametrize('kind', REFUSED)
def test_what_is_more_than_a_convolution_is_refused_by_name(kind, swap):
    make, message = REFUSED[kind]
    network = network_of(make())
    before = dict(network.named_modules())
    with pytest.raises(ValueError, match=f"'stage.conv'.*{message}"):
        SWAPS[swap](network)
    assert dict(network.named_modules()) == before


@pytest.mark.parametrize('swap', set(SWAPS) - {'random supernet', 'NATS'})
@pytest.mark.parametrize(
    'make',
    [
        lambda: nn.Conv2d(8, 8, 3, padding=1),
        lambda: Renamed(8, 8, 3, padding=1),
        lambda: mmcv_wrapper(),
    ],
)
def test_what_computes_the_same_is_swapped(make, swap):
    torch.manual_seed(0)
    network, x = network_of(make()), torch.randn(2, 8, 9, 9)
    expected = network['stage']['conv'](x)
    SWAPS[swap](network)
    swapped = network['stage']['conv']
    assert type(swapped).__module__.startswith('mmic.')
    if swap != 'PSConv':  # its dilations are part of the method
        torch.testing.assert_close(swapped(x), expected, rtol=1e-4, atol=1e-5)


def mmcv_wrapper():
    """The class of conv_cfg=dict(type='Conv2d') in mmcv, which takes empty batches."""
    return pytest.importorskip('mmcv.cnn.bricks.wrappers').Conv2d(8, 8, 3, padding=1)


@pytest.mark.parametrize('swap', ['searched', 'supernet', 'DO-Conv'])
def test_nats_supernet_is_not_swapped_again(swap):
    network = to_mixed(network_of(nn.Conv2d(8, 8, 3, padding=1)), [1, 2], num_groups=2)
    message = "'stage.conv' (of the file is not in the network|is MixedConv2d)"
    with pytest.raises(ValueError, match=message):
        SWAPS[swap](network)


def test_wide_kernels_take_no_pattern_and_are_plain_convolutions_to_do_conv():
    """EDO's supernet layer computes what nn.Conv2d with its wide kernel does."""
    torch.manual_seed(0)
    network, x = network_of(nn.Conv2d(8, 8, 3, padding=1)), torch.randn(1, 8, 9, 9)
    to_supernet(network, 2)
    with pytest.raises(ValueError, match="'stage.conv'.*kernel"):
        to_searched_conv(network)
    expected = network['stage']['conv'](x)
    to_swapped(network, DO)
    torch.testing.assert_close(network['stage']['conv'](x), expected, rtol=1e-4, atol=1e-5)


def test_fused_do_network_is_swapped_with_its_function():
    torch.manual_seed(0)
    trained = nn.Sequential(DOConv2d(8, 8, 3, padding=1), nn.ReLU())
    nn.init.normal_(trained[0].depthwise, std=0.2)
    x = torch.randn(1, 8, 9, 9)
    wide = to_supernet(fuse(trained), 2, embed=True)
    torch.testing.assert_close(wide(x), trained(x), rtol=1e-4, atol=1e-5)


# Parameters that two layers share


class Tied(nn.Module):
    """Two convolutions of one weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def test_shared_weight_stays_shared_where_the_layer_keeps_it():
    torch.manual_seed(0)
    network, x = Tied(), torch.randn(1, 8, 9, 9)
    expected = network(x)
    layers = {name: LayerPattern([(1, 1)] * 8, (3, 3), 8, 1) for name in ('first', 'second')}
    to_searched(network, DilationPattern(layers, 'edo'))
    assert network.first.weight is network.second.weight
    torch.testing.assert_close(network(x), expected)
    network = to_swapped(Tied(), PS)
    assert network.first.weight is network.second.weight


@pytest.mark.parametrize('swap', ['supernet', 'random supernet', 'DO-Conv', 'NATS'])
def test_shared_weight_is_refused_where_layers_would_part(swap):
    network = Tied()
    with pytest.raises(ValueError, match=r"'first': its weight is shared \(first.weight, second"):
        SWAPS[swap](network)
    assert type(network.first) is type(network.second) is nn.Conv2d


def test_weight_shared_with_another_kind_of_layer_is_refused():
    network = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 3, padding=1))
    network[1].weight = network[0].weight
    with pytest.raises(ValueError, match=r"'0': its weight is shared \(0.weight, 1.weight\)"):
        to_supernet(network, 2)


def test_shared_bias_stays_shared():
    network = Tied()
    network.second.weight = nn.Parameter(torch.randn(8, 8, 3, 3))
    network.second.bias = network.first.bias
    to_supernet(network, 2)
    assert network.first.bias is network.second.bias


# Wrapped networks


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.neck = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.neck(self.backbone(x))


def compiled_part(network):
    network.backbone = torch.compile(network.backbone)
    return network


@pytest.mark.parametrize('wrap', [nn.DataParallel, torch.compile, compiled_part])
def test_wrapped_networks_are_swapped_inside(wrap):
    network = Parts()
    wrapped = wrap(network)
    assert to_supernet(wrapped, 2, select='backbone') is wrapped
    kinds = {name: type(part).__name__ for name, _, part in named_parts(network)}
    assert (kinds['backbone.0'], kinds['neck']) == ('WideConv2d', 'Conv2d')


def test_network_wrapped_for_processes_is_refused(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(Parts())
        with pytest.raises(ValueError, match=r'wrapped in DistributedDataParallel.*before'):
            to_supernet(wrapped, 2)
    finally:
        torch.distributed.destroy_process_group()


# Choices that match nothing


def transposed():
    return nn.Sequential(nn.ConvTranspose2d(8, 8, 3), nn.Conv2d(8, 8, 1))


@pytest.mark.parametrize(
    ('network', 'select', 'message'),
    [
        (
            lambda: nn.Sequential(nn.Conv2d(8, 8, 7, groups=8), nn.Conv2d(8, 8, 1)),
            None,
            "all 3x3 convolutions, matches no convolution. The network has 7x7 (1, '0' first), "
            "1x1 (1, '1' first). Name others with `select`",
        ),
        (
            transposed,
            None,
            "larger than 1x1. The network has 3x3 ConvTranspose2d (1, '0' first), 1x1 (1, '1' f",
        ),
        (transposed, '0', "it matches ConvTranspose2d 3x3 ('0'), which are not searched."),
        (transposed, ['1'], "it matches Conv2d 1x1 ('1'), which are not searched."),
        (Parts, r'backbone\.1', "it matches ReLU ('backbone.1'), which"),
        (
            Parts,
            'nek',
            "select=['nek'], matches no convolution; no name of a layer begins so; near",
        ),
        (Parts, 'nek', "are 'neck'. The network has 3x3 (2, 'backbone.0' first)."),
        (Parts, lambda name, conv: False, 'The choice of layers, a function, matches no conv'),
        (lambda: nn.Sequential(nn.ReLU()), None, 'The network has no convolutions.'),
    ],
)
def test_choice_of_nothing_says_what_it_looked_for(network, select, message):
    for swap in (
        lambda net: to_supernet(net, 2, select),
        lambda net: to_mixed(net, [1, 2], 2, select=select),
        lambda net: to_swapped(net, PS, select),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            swap(network())


def test_do_convs_default_says_what_it_looked_for():
    with pytest.raises(ValueError, match='all convolutions larger than 1x1, matches no conv'):
        to_swapped(nn.Sequential(nn.Conv2d(8, 8, 1)), DO)


def test_refused_layer_can_be_left_out_and_by_replace_too():
    network = nn.Sequential(Standardised(8, 8, 3), nn.Conv2d(8, 8, 3))
    to_supernet(network, 2, select='1')
    assert [type(part).__name__ for part in network] == ['Standardised', 'WideConv2d']
    swap_convs(network, lambda name, conv: None)
    assert [type(part).__name__ for part in network] == ['Standardised', 'WideConv2d']
