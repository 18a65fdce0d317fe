"""The classification networks that mmpretrain lacks, against naive forms of them."""

import pytest
import torch
from helpers import run_python
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from mmic.analysis.complexity import count_complexity
from mmic.layers import DOConv2d, PSConv2d

mmpretrain = pytest.importorskip('mmpretrain.models.backbones', reason='mmpretrain is missing')

from mmic.models import (  # noqa: E402
    CIFARPlainNet,
    CIFARPreActResNet,
    CIFARResNet,
    CIFARResNeXt,
    MobileNetV1,
    PlainNet,
    PreActResNet,
    build_swapped,
)

THIN = dict(stem_channels=4, base_channels=4)
# Small ones of every class: constructor, arguments, side of the images.
NETWORKS = {
    'v1-20': (CIFARResNet, dict(depth=20, **THIN), 16),
    'v1-164': (CIFARResNet, dict(depth=164, style='caffe', **THIN), 16),
    'v2-20': (CIFARPreActResNet, dict(depth=20, **THIN), 16),
    'v2-164': (CIFARPreActResNet, dict(depth=164, style='caffe', **THIN), 16),
    'plain-20': (CIFARPlainNet, dict(depth=20, **THIN), 16),
    'x29': (CIFARResNeXt, dict(groups=2, width_per_group=4, **THIN), 16),
    'in1k-v2-18': (PreActResNet, dict(depth=18, **THIN), 64),
    'in1k-v2-50': (PreActResNet, dict(depth=50, **THIN), 64),
    'in1k-plain-18': (PlainNet, dict(depth=18, **THIN), 64),
    'mobilenet': (MobileNetV1, dict(widen_factor=0.125), 64),
}
# Those that the naive form below knows: kind of network, blocks of each stage, layers of a block,
# style.
NAIVE = {
    'v1-20': ('v1', (3, 3, 3), 2, 'pytorch'),
    'v1-164': ('v1', (18, 18, 18), 3, 'caffe'),
    'v2-20': ('v2', (3, 3, 3), 2, 'pytorch'),
    'v2-164': ('v2', (18, 18, 18), 3, 'caffe'),
    'plain-20': ('plain', (3, 3, 3), 2, 'pytorch'),
    'in1k-v2-18': ('v2', (2, 2, 2, 2), 2, 'pytorch'),
    'in1k-v2-50': ('v2', (3, 4, 6, 3), 3, 'pytorch'),
    'in1k-plain-18': ('plain', (2, 2, 2, 2), 2, 'pytorch'),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def build(name, **arguments):
    kind, common, _ = NETWORKS[name]
    return kind(**common, **arguments)


def image(name, count=2, dtype=torch.float32):
    side = NETWORKS[name][2]
    return torch.randn(count, 3, side, side, dtype=dtype)


def randomise(network):
    """Random batch norm statistics and affine terms: fresh ones hide errors."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


# Parameters


def cifar_parameters(kind, depth, classes):
    """Parameters of a CIFAR network with its classifier, counted layer by layer."""
    bottleneck = depth == 164
    blocks = (depth - 2) // (9 if bottleneck else 6)
    total = 3 * 16 * 9 + 2 * 16
    width = 16
    for middle in (16, 32, 64):
        out = 4 * middle if bottleneck else middle
        for number in range(blocks):
            if bottleneck:
                convs = [(width, middle, 1), (middle, middle, 9), (middle, out, 1)]
            else:
                convs = [(width, out, 9), (out, out, 9)]
            for place, (source, target, taps) in enumerate(convs):
                total += source * target * taps
                # A norm has the channels of the convolution that it follows, or precedes in v2;
                # the very first block of v2 starts from the stem's norm.
                if kind != 'v2':
                    total += 2 * target
                elif not (middle == 16 and number == 0 and place == 0):
                    total += 2 * source
            if bottleneck and number == 0:
                total += width * out + (0 if kind == 'v2' else 2 * out)
            width = out
    total += 2 * width if kind == 'v2' else 0
    return total + width * classes + classes


CIFAR = {'v1': CIFARResNet, 'v2': CIFARPreActResNet, 'plain': CIFARPlainNet}


@pytest.mark.parametrize(
    ('kind', 'depth'),
    [
        *[(kind, depth) for kind in CIFAR for depth in (20, 56, 110)],
        ('v1', 164),
        ('v2', 164),
    ],
)
def test_cifar_network_has_the_papers_parameters(kind, depth):
    network = CIFAR[kind](depth=depth)
    total = count(network) + network.feat_dim * 10 + 10
    assert total == cifar_parameters(kind, depth, 10)
    # He et al., CVPR 2016, Table 6, and ECCV 2016.
    assert round(total / 1e6, 2) == {20: 0.27, 56: 0.85, 110: 1.73, 164: 1.70}[depth]


@pytest.mark.parametrize(('groups', 'millions'), [(8, 34.43), (16, 68.16)])
def test_resnext_29_has_the_papers_parameters(groups, millions):
    """With 10 classes, as Xie et al. count: 34.4 M and 68.1 M."""
    total = 3 * 64 * 9 + 2 * 64
    width = 64
    for out in (256, 512, 1024):
        middle = groups * out // 4
        for number in range(3):
            total += width * middle + middle * middle // groups * 9 + middle * out
            total += 2 * (middle + middle + out)
            if number == 0:
                total += width * out + 2 * out
            width = out
    network = CIFARResNeXt(groups=groups)
    assert count(network) == total
    assert round((total + 1024 * 10 + 10) / 1e6, 2) == millions


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_preact_resnet_has_the_convolutions_of_resnet(depth):
    ours = PreActResNet(depth=depth, base_channels=8, stem_channels=8)
    host = mmpretrain.ResNet(depth=depth, base_channels=8, stem_channels=8)

    def convs(network):
        return {n: tuple(p.shape) for n, p in network.named_parameters() if p.ndim == 4}

    assert convs(ours) == convs(host)


def test_mobilenet_v1_has_the_papers_parameters_and_macs():
    """4.2 M and 569 M (Howard et al., Table 8), both with the classifier."""
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    widths = [64, 128, 128, 256, 256] + [512] * 6 + [1024] * 2
    parameters, side, source = 3 * 32 * 9 + 2 * 32, 112, 32
    macs = 3 * 32 * 9 * side**2
    for width, stride in zip(widths, strides):
        side //= stride
        parameters += source * 9 + 2 * source + source * width + 2 * width
        macs += (source * 9 + source * width) * side**2
        source = width
    network = MobileNetV1()
    found = count_complexity(network, (224, 224))
    assert count(network) == found.total_parameters == parameters
    assert found.total_macs == macs
    assert (parameters + 1024 * 1000 + 1000, macs + 1024 * 1000) == (4231976, 568740352)


# Forward passes


def naive_forward(state, x, kind, stages, layers, style):
    """A residual network of plain functions, in eval mode.

    Args:
        state (dict[str, Tensor]): ``state_dict`` of the network.
        x (Tensor): Images.
        kind (str): ``'v1'``, ``'v2'`` or ``'plain'``.
        stages (tuple[int]): Blocks of each stage; four for ImageNet's stem.
        layers (int): Convolutions of a block.
        style (str): Where a bottleneck has its stride.
    """

    def norm(x, name):
        mean, var, weight, bias = (
            state[f'{name}.{part}'][:, None, None]
            for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv(x, name, stride=1):
        weight = state[f'{name}.weight']
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def shortcut(x, channels, stride, prefix):
        if stride == 1 and x.shape[1] == channels:
            return x
        if f'{prefix}.downsample.0.weight' in state:
            x = conv(x, f'{prefix}.downsample.0', stride)
            return norm(x, f'{prefix}.downsample.1') if kind == 'v1' else x
        wide = x.new_zeros(len(x), channels, -(-x.shape[2] // stride), -(-x.shape[3] // stride))
        wide[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
        return wide

    imagenet = len(stages) == 4
    x = norm(conv(x, 'conv1', 2 if imagenet else 1), 'bn1').clamp(min=0)
    if imagenet:
        x = F.max_pool2d(x, 3, 2, 1)
    strided = 2 if layers == 3 and style == 'pytorch' else 1
    for stage, blocks in enumerate(stages, 1):
        for block in range(blocks):
            prefix = f'layer{stage}.{block}'
            stride = 2 if stage > 1 and block == 0 else 1
            channels = state[f'{prefix}.conv{layers}.weight'].shape[0]
            start = x
            if kind == 'v2':
                activated = x
                if stage > 1 or block > 0:
                    activated = norm(x, f'{prefix}.bn1').clamp(min=0)
                changes = stride == 2 or x.shape[1] != channels
                start = activated if changes else x
                x = activated
            same = shortcut(start, channels, stride, prefix) if kind != 'plain' else 0
            for number in range(1, layers + 1):
                if kind == 'v2' and number > 1:
                    x = norm(x, f'{prefix}.bn{number}').clamp(min=0)
                x = conv(x, f'{prefix}.conv{number}', stride if number == strided else 1)
                if kind != 'v2':
                    x = norm(x, f'{prefix}.bn{number}')
                    x = x.clamp(min=0) if number < layers else x
            x = x + same
            x = x if kind == 'v2' else x.clamp(min=0)
    return norm(x, 'last_norm').clamp(min=0) if kind == 'v2' else x


@pytest.mark.parametrize('name', NAIVE)
def test_network_computes_what_the_naive_one_does(name):
    network = randomise(build(name)).double()
    network.eval()
    x = image(name, dtype=torch.float64)
    with torch.no_grad():
        (found,) = network(x)
        expected = naive_forward(network.state_dict(), x, *NAIVE[name])
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('name', NETWORKS)
def test_every_parameter_learns_from_the_start(name):
    """After ``init_weights``: a norm that starts at zero before a ReLU would never move."""
    network = build(name)
    network.init_weights()
    network.train()
    (out,) = network(image(name, 4))
    (out * torch.randn_like(out)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize(
    ('name', 'indices', 'shapes'),
    [
        ('v1-20', (0, 1, 2), [(4, 16), (8, 8), (16, 4)]),
        ('v2-164', (0, 2), [(16, 16), (64, 4)]),
        ('x29', (1, 2), [(32, 8), (64, 4)]),
        ('in1k-v2-50', (0, 3), [(16, 16), (128, 2)]),
        ('mobilenet', (0, 1, 2, 3, 4), [(8, 32), (16, 16), (32, 8), (64, 4), (128, 2)]),
    ],
)
def test_chosen_stages_are_returned(name, indices, shapes):
    outs = build(name, out_indices=indices)(image(name))
    assert [tuple(out.shape) for out in outs] == [(2, width, s, s) for width, s in shapes]


@pytest.mark.parametrize('name', ['v2-20', 'in1k-v2-50'])
def test_checkpointing_changes_no_gradient(name):
    plain, saving = build(name), build(name, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = image(name)
    gradients = []
    for network in (plain, saving):
        network(x)[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ('plain', 'residual'),
    [
        (CIFARPlainNet(20, **THIN), CIFARResNet(20, **THIN)),
        (PlainNet(18, **THIN), mmpretrain.ResNet(18, **THIN)),
    ],
)
def test_plain_network_has_no_way_around_a_block(plain, residual):
    assert not any('downsample' in name for name, _ in plain.named_modules())
    x = torch.randn(2, 3, 64, 64)
    for network, constant in ((plain, True), (residual, False)):
        network.eval()
        nn.init.zeros_(network.layer2[1].conv2.weight)
        one, other = network(x)[0]
        assert torch.equal(one, other) == constant


# Convolutions of the papers


@pytest.mark.parametrize('name', NETWORKS)
def test_do_conv_reaches_every_convolution_but_1x1(name):
    plain = randomise(build(name))
    network = build(name, conv_cfg=dict(type='DOConv2d'))
    assert {n for n, module in network.named_modules() if isinstance(module, DOConv2d)} == {
        n
        for n, module in plain.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    }
    network.load_state_dict(plain.state_dict(), strict=False)
    plain.eval(), network.eval()
    x = image(name)
    torch.testing.assert_close(network(x)[0], plain(x)[0], rtol=1e-4, atol=1e-4)


def test_ps_resnext_has_the_parameters_of_the_plain_one():
    model = dict(type='CIFARResNeXt', groups=2, width_per_group=8, base_channels=8)
    plain = MODELS.build(model)
    network = build_swapped(model, dict(type='PSConv2d'), select='layer')
    assert count(network) == count(plain)
    assert {n for n, module in network.named_modules() if isinstance(module, PSConv2d)} == {
        f'layer{stage}.{block}.conv2' for stage in (1, 2, 3) for block in range(3)
    }
    assert network(torch.randn(1, 3, 16, 16))[0].shape == (1, 1024 // 8, 4, 4)


# Errors


@pytest.mark.parametrize('cls', [CIFARResNet, CIFARPreActResNet, CIFARPlainNet, CIFARResNeXt])
def test_another_depth_is_refused(cls):
    with pytest.raises(ValueError, match=f'depth of {cls.__name__} must be one of .*, got 18'):
        cls(depth=18)


def test_stages_that_do_not_exist_or_lack_the_last_one_are_refused():
    with pytest.raises(ValueError, match=r'must hold its last stage, 2, got \(0, 1\)'):
        CIFARPreActResNet(20, out_indices=(0, 1))
    with pytest.raises(ValueError, match=r'among 0 to 4, got \(5,\)'):
        MobileNetV1(out_indices=(5,))


MISSING = """
import sys
sys.modules['mmpretrain'] = None
import mmic
from mmengine.registry import MODELS
for name in ('CIFARResNet', 'mmic.PreActResNet', 'MobileNetV1'):
    try:
        MODELS.build(dict(type=name, depth=20))
    except ImportError as error:
        print('REFUSED', error)
print(type(MODELS.build(dict(type='ICResNet', depth=18, d_max=2))).__name__)
"""


def test_networks_say_that_mmpretrain_is_missing():
    lines = run_python(MISSING).splitlines()
    refused = [line for line in lines if line.startswith('REFUSED')]
    for line, name in zip(refused, ('CIFARResNet', 'PreActResNet', 'MobileNetV1')):
        assert f'{name} is built on mmpretrain, which cannot be imported here' in line
        assert 'pip install onedl-mmpretrain' in line
        assert 'mim install mmpretrain' in line
    assert len(refused) == 3
    assert lines[-1] == 'ICResNet'
