"""MixedConv2d against loops, in all its modes."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from mmic.analysis.benchmark import saved_bytes
from mmic.layers import ICConv2d
from mmic.models import NATSResNet
from mmic.pattern import DilationPattern, LayerPattern, PatternError
from mmic.supernet import MixedConv2d
from mmic.supernet.genotypes import GENOTYPES, genotypes_of

SETS = [GENOTYPES[name][stage] for name in 'ABC' for stage in ('layer2', 'layer4')]


def make_layer(genotypes, num_groups=2, stride=1, groups=1, bias=True, size=3):
    """A layer with random weights and alpha in float64."""
    conv = nn.Conv2d(4, 8, size, stride, size // 2, groups=groups, bias=bias).double()
    layer = MixedConv2d.from_conv(conv, genotypes=genotypes, num_groups=num_groups)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def naive_mixed(layer, x):
    """Eq. 3 by loops over groups, genotypes and taps."""
    pad, stride = layer.padding[0], layer.stride[0]
    side = (x.shape[-1] + 2 * pad - layer.kernel_size[0]) // stride + 1
    far = layer.kernel_size[0] // 2 * max(max(pair) for pair in layer.candidates)
    padded = F.pad(x, (far,) * 4)
    first = far + layer.kernel_size[0] // 2 - pad  # where the first output's centre lies
    outputs = []
    per_group, depth = layer.out_channels // layer.num_groups, layer.in_channels // layer.groups
    for channel in range(layer.out_channels):
        alpha = layer.alpha[channel // per_group]
        shares = alpha.exp() / alpha.exp().sum()
        start = channel // (layer.out_channels // layer.groups) * depth
        total = layer.bias[channel] if layer.bias is not None else 0
        for share, weight, (h, w) in zip(shares, layer.weights, layer.candidates):
            for u in range(-(layer.kernel_size[0] // 2), layer.kernel_size[0] // 2 + 1):
                for v in range(-(layer.kernel_size[1] // 2), layer.kernel_size[1] // 2 + 1):
                    top, left = first + u * h, first + v * w
                    seen = padded[
                        :,
                        start : start + depth,
                        top : top + stride * (side - 1) + 1 : stride,
                        left : left + stride * (side - 1) + 1 : stride,
                    ]
                    radius = layer.kernel_size[0] // 2
                    taps = weight[channel, :, u + radius, v + radius]
                    total = total + share * (seen * taps[:, None, None]).sum(1)
        outputs.append(total)
    return torch.stack(outputs, 1)


def run(layer, x, function):
    """Output and gradients of everything, for one random gradient of the output."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = function(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('groups', [1, 2, 4])
@pytest.mark.parametrize('genotypes', SETS)
def test_all_modes_equal_a_naive_loop(genotypes, groups, stride):
    layer = make_layer(genotypes, 2 if groups < 4 else 4, stride, groups)
    x = torch.randn(2, 4, 9, 9, dtype=torch.double)
    expected = run(layer, x, lambda seen: naive_mixed(layer, seen))
    for mode in ('features', 'kernel', 'auto'):
        other = MixedConv2d.from_conv(
            nn.Conv2d(4, 8, 3, stride, 1, groups=groups).double(),
            genotypes=genotypes,
            num_groups=layer.num_groups,
            mode=mode,
        )
        other.load_state_dict(layer.state_dict())
        for value, wanted in zip(run(other, x, other), expected):
            assert torch.allclose(value, wanted, rtol=1e-10, atol=1e-11), mode


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4, unique=True),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([3, 5]),
    st.booleans(),
    st.sampled_from([1, 2]),
)
def test_modes_agree(genotypes, num_groups, size, bias, stride):
    layer = make_layer(genotypes, num_groups, stride, bias=bias, size=size)
    x = torch.randn(1, 4, 7, 7, dtype=torch.double)
    layer.mode = 'features'
    expected = run(layer, x, layer)
    for mode in ('kernel', 'auto'):
        other = MixedConv2d.from_conv(
            nn.Conv2d(4, 8, size, stride, size // 2, bias=bias).double(),
            genotypes=genotypes,
            num_groups=num_groups,
            mode=mode,
        )
        other.load_state_dict(layer.state_dict())
        for value, wanted in zip(run(other, x, other), expected):
            assert torch.allclose(value, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('mode', ['features', 'kernel', 'auto'])
def test_all_mass_on_one_genotype_is_the_searched_layer(mode):
    """Every group on a genotype of its own: the layer that ``position`` decodes to."""
    genotypes = GENOTYPES['C']['layer2']
    conv = nn.Conv2d(6, 10, 3, 2, 1)
    layer = MixedConv2d.from_conv(conv, genotypes=genotypes, num_groups=5, mode=mode)
    with torch.no_grad():
        layer.alpha.copy_(torch.eye(5)[[3, 0, 4, 1, 2]] * 1000)
    pairs = [genotypes_of(genotypes, '')[index] for index in (3, 0, 4, 1, 2) for _ in range(2)]
    searched = ICConv2d.from_conv(conv, pairs)
    x = torch.randn(2, 6, 9, 9)
    assert torch.allclose(layer(x), searched(x), atol=1e-6)


def test_supernet_with_all_mass_on_one_genotype_is_the_searched_network():
    """The whole backbone, weights shared, BN random and in eval mode."""
    torch.manual_seed(0)
    supernet = NATSResNet(depth=50, base_channels=8, genotypes='C', num_groups=4).double()
    supernet.eval()
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(value)
            nn.init.uniform_(module.running_var, 0.5, 2)
    layers, state = {}, {}
    for name, conv in supernet.named_modules():
        if isinstance(conv, MixedConv2d):
            for weight in conv.weights:
                nn.init.normal_(weight)
            with torch.no_grad():
                conv.alpha[:, 2] = 1000
            # Genotype 2 is dilation (3, 3) in every set.
            pairs = [(3, 3)] * conv.out_channels
            layers[name] = LayerPattern(pairs, (3, 3), conv.in_channels)
            state[f'{name}.weight'] = conv.weights[2]
    pattern = DilationPattern(layers, 'nats', stage_blocks=[3, 4, 6, 3])
    searched = NATSResNet(depth=50, base_channels=8, pattern=pattern).double()
    searched.eval()
    state.update(
        (name, value)
        for name, value in supernet.state_dict().items()
        if name.rpartition('.')[0] not in layers and '.weights.' not in name
    )
    missing = searched.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert not missing.missing_keys
    x = torch.randn(1, 3, 64, 64, dtype=torch.double)
    for value, wanted in zip(supernet(x), searched(x)):
        assert torch.allclose(value, wanted, rtol=1e-9, atol=1e-9)


def test_gradients_pass_gradcheck():
    layer = make_layer([1, (1, 2)], num_groups=2)
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values)), (x,))

    x = torch.randn(1, 4, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


def test_kernel_mode_keeps_no_more_than_the_plain_network():
    """ResNet-50, set C, N = 16; the features mode keeps the candidates' outputs too."""
    x = torch.randn(1, 3, 128, 128)
    saved = {}
    for mode in ('kernel', 'auto', 'features'):
        supernet = NATSResNet(depth=50, genotypes='C', num_groups=16, mode=mode)
        saved[mode] = saved_bytes(supernet, x)
    plain = saved_bytes(MODELS.build(dict(type='mmdet.ResNet', depth=50)), x)
    print(f'saved for backward, MiB: plain {plain / 2**20:.1f}', end='')
    print(''.join(f', {mode} {value / 2**20:.1f}' for mode, value in saved.items()))
    assert saved['kernel'] <= 1.3 * plain
    assert saved['auto'] <= 1.3 * plain
    assert saved['features'] > 1.1 * saved['kernel']


def test_starts_as_the_mean_of_copies():
    conv = nn.Conv2d(4, 8, 3, padding=1)
    layer = MixedConv2d.from_conv(conv, genotypes=[1, 2, (1, 3)], channels_per_group=2)
    assert layer.alpha.shape == (4, 3)
    assert (layer.alpha == 0).all()
    assert all(torch.equal(weight, conv.weight) for weight in layer.weights)
    x = torch.randn(1, 4, 8, 8)
    parts = [F.conv2d(x, conv.weight, conv.bias, 1, pad, pad) for pad in ((1, 1), (2, 2), (1, 3))]
    assert torch.allclose(layer(x), sum(parts) / 3, atol=1e-6)


def test_supernet_from_scratch_is_initialised_as_the_plain_network():
    """Kaiming normal over fan-out; and still copies."""
    network = NATSResNet(depth=50, genotypes=[1, 2], num_groups=1)
    network.init_weights()
    conv = network.layer3[0].conv2
    assert torch.equal(conv.weights[0], conv.weights[1])
    assert conv.weights[0].std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_plain_checkpoint_fills_all_candidates():
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False))
    layer = nn.Sequential(MixedConv2d.from_conv(plain[0], genotypes=[1, 2], num_groups=2))
    state = {'0.weight': torch.randn(8, 4, 3, 3)}
    layer.load_state_dict(state)
    assert list(state) == ['0.weight']
    assert all(torch.equal(weight, state['0.weight']) for weight in layer[0].weights)
    with pytest.raises(ValueError, match=r"'0': weight \(8, 4, 5, 5\) in the checkpoint"):
        layer.load_state_dict({'0.weight': torch.randn(8, 4, 5, 5)})


def test_checkpoint_of_other_genotypes_is_refused():
    conv = nn.Conv2d(4, 8, 3)
    first = nn.Sequential(MixedConv2d.from_conv(conv, genotypes=[1, 2], num_groups=2))
    second = nn.Sequential(MixedConv2d.from_conv(conv, genotypes=[1, 3], num_groups=2))
    with pytest.raises(PatternError, match=r"'0': .*\[\[1, 1\], \[2, 2\]\]"):
        second.load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(genotypes=[1, 2]), 'exactly one of num_groups'),
        (dict(genotypes=[1], num_groups=2, channels_per_group=4), 'exactly one of num_groups'),
        (dict(genotypes=[1, 2], num_groups=3), 'num_groups=3 does not divide 8'),
        (dict(genotypes=[1, 2], num_groups=16), 'num_groups=16 does not divide 8'),
        (dict(genotypes=[1, 2], num_groups=True), 'num_groups=True'),
        (dict(genotypes=[1, 2], channels_per_group=5), 'channels_per_group=5 does not divide 8'),
        (dict(genotypes=[], num_groups=2), 'a list of dilations'),
        (dict(genotypes=[1, (1, 1)], num_groups=2), r'\(1, 1\) stands twice'),
        (dict(genotypes=[0], num_groups=2), 'from 1 to 255, got 0'),
        (dict(genotypes=[1.5], num_groups=2), '1.5'),
        (dict(genotypes=[1, 2], num_groups=2, mode='fast'), "mode must be one of .* got 'fast'"),
    ],
)
def test_bad_arguments(options, told):
    with pytest.raises(ValueError, match=told):
        MixedConv2d.from_conv(nn.Conv2d(4, 8, 3), **options)


def test_groups_that_end_within_conv_groups_are_refused():
    conv = nn.Conv2d(8, 8, 3, groups=2)
    assert MixedConv2d.from_conv(conv, genotypes=[1, 2], num_groups=2).num_groups == 2
    with pytest.raises(ValueError, match='end within the groups of 4 channels'):
        MixedConv2d.from_conv(conv, genotypes=[1, 2], num_groups=4)


def test_citizen_of_torch():
    """Copies, autocast, memory formats, an empty batch."""
    torch.manual_seed(0)
    layer = MixedConv2d.from_conv(nn.Conv2d(4, 8, 3, padding=1), genotypes=[1, 2], num_groups=2)
    nn.init.normal_(layer.alpha)
    x = torch.randn(2, 4, 9, 9)
    expected = run(layer, x, layer)
    for value, wanted in zip(run(layer, x, copy.deepcopy(layer)), expected[:1]):
        assert torch.equal(value, wanted)
    last = layer.to(memory_format=torch.channels_last)
    for value, wanted in zip(run(last, x.to(memory_format=torch.channels_last), last), expected):
        assert torch.allclose(value, wanted, atol=1e-4)
    with torch.autocast('cpu', torch.bfloat16):
        half = run(layer, x, layer)
    assert half[0].dtype == torch.bfloat16
    for value, wanted in zip(half, expected):
        assert (value - wanted).norm() < 0.05 * wanted.norm()
    assert layer(torch.zeros(0, 4, 9, 9)).shape == (0, 8, 9, 9)


def test_genotype_sets_of_the_paper():
    """NATS, section 4.3: 5, 5 and 9 candidates in set C."""
    assert [len(GENOTYPES['C'][stage]) for stage in ('layer2', 'layer3', 'layer4')] == [5, 5, 9]
    assert genotypes_of('A', 'backbone.layer4.0.conv2') == [(1, 1), (3, 3), (5, 5)]
    assert genotypes_of('B', 'layer3.1.conv2') == [(1, 1), (2, 2), (3, 3)]
    with pytest.raises(ValueError, match=r"'layer1.0.conv2' belongs to none of the stages"):
        genotypes_of('C', 'layer1.0.conv2')
    with pytest.raises(ValueError, match=r"one of \['A', 'B', 'C'\], got 'D'"):
        genotypes_of('D', 'layer2.0.conv2')
