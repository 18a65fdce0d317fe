"""CR-NAS backbones: published networks, supernets whose paths are stand-alone networks."""

import json
import random
import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.layers import ICConv2d
from mmic.models.block_dilations import block_convs, block_pattern
from mmic.pattern import DilationPattern, PatternError
from mmic.supernet import ChoiceConv2d, StageBranches
from mmic.supernet.paths import (
    choice_modules,
    default_path,
    path_weights,
    sample_path,
    set_path,
)

mmdet = pytest.importorskip('mmdet.models.backbones', reason='mmdet is not installed')

from mmic.models import CRMobileNetV2, CRResNet, CRResNeXt, ICMobileNetV2, ICResNet  # noqa: E402

# norm_eval is on in mmdet's ResNet: without it the batch norm of a training step is tested too.
THIN = {'base_channels': 4, 'norm_eval': False}
CLASSES = {'resnet': CRResNet, 'resnext': CRResNeXt, 'mobilenetv2': CRMobileNetV2}
PLAIN = {'resnet': mmdet.ResNet, 'resnext': mmdet.ResNeXt, 'mobilenetv2': mmdet.MobileNetV2}
MOBILENETV2 = (1, 1, 2, 2, 3, 4, 4, 1, 1, 1)
MOBILENETV2_BASELINE = (1, 1, 2, 3, 4, 3, 3, 1, 1, 1)


def blocks_with(two='', three=''):
    """Dilations by block, ``'STAGE.INDEX'``, from lists of the blocks with dilation 2 and 3."""
    return {**dict.fromkeys(two.split(), 2), **dict.fromkeys(three.split(), 3)}


# Tables 5 and 6 by hand: depth, blocks, and the blocks whose dilation is not 1.
PUBLISHED = {
    'SCR-ResNet18': ('resnet', 18, (1, 1, 2, 4), {}),
    'SCR-ResNet50': ('resnet', 50, (1, 3, 5, 7), {}),
    'SCR-ResNet101': ('resnet', 101, (2, 3, 17, 11), {}),
    'SCR-ResNeXt50-32x4d': ('resnext', 50, (2, 2, 6, 6), {}),
    'SCR-ResNeXt101-32x4d': ('resnext', 101, (3, 4, 15, 11), {}),
    'SCR-MobileNetV2': ('mobilenetv2', None, MOBILENETV2, {}),
    'CR-ResNet18': ('resnet', 18, (1, 1, 2, 4), blocks_with('3.0 4.0 4.3', '4.2')),
    'CR-ResNet50': ('resnet', 50, (1, 3, 5, 7), blocks_with('2.1 3.2 4.1 4.4 4.5', '3.3 4.3 4.6')),
    'CR-ResNet101': (
        'resnet',
        101,
        (2, 3, 17, 11),
        blocks_with('3.1 3.3 3.11 3.13 3.15 4.0 4.1 4.4 4.6 4.9 4.10', '3.7 4.7'),
    ),
    'CR-MobileNetV2': (
        'mobilenetv2',
        None,
        MOBILENETV2,
        blocks_with('1.0 2.1 4.1 4.2 5.2 5.3 6.1 6.2', '3.1 7.0'),
    ),
}


def arguments_of(family, depth):
    arguments = {} if depth is None else {'depth': depth}
    return {**arguments, 'groups': 32} if family == 'resnext' else arguments


def block_conv(network, block):
    """The convolution that CR-NAS dilates in block ``'STAGE.INDEX'``."""
    block = network.get_submodule(f'layer{block}')
    return block.depthwise_conv.conv if hasattr(block, 'depthwise_conv') else block.conv2


def blocks_of(family, stage_blocks):
    """``'STAGE.INDEX'`` of all blocks, in network order."""
    groups = stage_blocks[1:-2] if family == 'mobilenetv2' else stage_blocks
    return [f'{s}.{i}' for s, count in enumerate(groups, 1) for i in range(count)]


def reference(family, depth, stage_blocks, dilations, **arguments):
    """mmdet's network with these blocks, whose dilations are set on its own convolutions."""

    class Reference(PLAIN[family]):
        pass

    settings = PLAIN[family].arch_settings
    if family == 'mobilenetv2':
        counts = stage_blocks[1:-2]
        Reference.arch_settings = [[e, c, n, s] for (e, c, _, s), n in zip(settings, counts)]
    else:
        Reference.arch_settings = {depth: (settings[depth][0], stage_blocks)}
    network = Reference(**arguments_of(family, depth), **arguments)
    for block, dilation in dilations.items():
        conv = block_conv(network, block)
        conv.dilation = conv.padding = (dilation, dilation)
    return network


def randomise(network):
    """Random batch norm statistics and affine terms, since fresh ones hide errors; in eval mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    # mmdet's eval and train return None.
    network.eval()
    return network


def multiply_adds(network):
    """Of all convolutions at 800 x 1088, by hooks on tensors without storage."""
    counts = []

    def count(conv, inputs, output):
        size = conv.kernel_size[0] * conv.kernel_size[1]
        counts.append(output.numel() * size * conv.in_channels // conv.groups)

    network = network.to('meta')
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network.eval()
    with torch.no_grad():
        network(torch.empty(1, 3, 800, 1088, device='meta'))
    return sum(counts) / 1e9


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_network_has_the_papers_blocks_and_dilations(name):
    """Widths and the form of each block are the plain network's."""
    family, depth, stage_blocks, dilated = PUBLISHED[name]
    network = CLASSES[family](arch=name)
    plain = PLAIN[family](**arguments_of(family, depth))
    assert network.stage_blocks == stage_blocks
    groups = stage_blocks[1:-2] if family == 'mobilenetv2' else stage_blocks
    for stage, count in enumerate(groups, 1):
        mine, theirs = (net.get_submodule(f'layer{stage}') for net in (network, plain))
        assert len(mine) == count
        for index in range(count):
            shapes = [
                {key: value.shape for key, value in block.named_parameters()}
                for block in (mine[index], theirs[min(index, 1)])
            ]
            assert shapes[0] == shapes[1], (stage, index)
    for block in blocks_of(family, stage_blocks):
        conv, rate = block_conv(network, block), dilated.get(block, 1)
        if name.startswith('SCR'):
            assert type(conv) is nn.Conv2d, block
        else:
            assert (conv.dilations == rate).all(), block
    searched = [part for part in network.modules() if isinstance(part, ICConv2d)]
    assert len(searched) == (0 if name.startswith('SCR') else len(blocks_of(family, stage_blocks)))


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_network_costs_what_the_baseline_costs(name):
    """A move between MobileNetV2's groups costs 0.293 G: its blocks are not equally large."""
    family, depth, _, _ = PUBLISHED[name]
    baseline = multiply_adds(PLAIN[family](**arguments_of(family, depth)))
    if depth is not None and family == 'resnet':
        assert baseline == pytest.approx({18: 31.5, 50: 70.9, 101: 135.3}[depth], abs=0.2)
    cost = multiply_adds(CLASSES[family](arch=name))
    if family == 'mobilenetv2':
        assert cost - baseline == pytest.approx(0.293, abs=0.001)
    else:
        assert cost == pytest.approx(baseline, rel=0.005)


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
@pytest.mark.parametrize('name', ['CR-ResNet18', 'CR-ResNet50', 'SCR-ResNet50'])
def test_network_is_mmdets_with_dilated_convolutions(name, style):
    """The stride of a first block stands in its dilated convolution, or in the 1x1 before it."""
    family, depth, stage_blocks, dilated = PUBLISHED[name]
    common = {**THIN, 'style': style}
    assert_same_function(
        CRResNet(arch=name, **common), reference(family, depth, stage_blocks, dilated, **common)
    )


def test_mobilenet_is_mmdets_with_dilated_convolutions():
    arguments = {'widen_factor': 0.25, 'out_indices': (1, 2, 4, 6)}
    assert_same_function(
        CRMobileNetV2(arch='CR-MobileNetV2', **arguments),
        reference(*PUBLISHED['CR-MobileNetV2'], **arguments),
    )


def assert_same_function(network, plain):
    randomise(plain)
    network.eval()
    result = network.load_state_dict(plain.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    x = torch.randn(1, 3, 64, 96)
    for mine, theirs in zip(network(x), plain(x)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_baselines_are_published_names_too():
    assert CRResNet(arch='ResNet50', **THIN).stage_blocks == (3, 4, 6, 3)
    assert CRMobileNetV2(arch='MobileNetV2').stage_blocks == MOBILENETV2_BASELINE


@pytest.mark.parametrize('prefix', ['', 'mmic.'])
def test_configs_name_the_backbones(prefix):
    init_default_scope('mmdet')
    for name, arch in [('ResNet', 'CR-ResNet18'), ('MobileNetV2', 'CR-MobileNetV2')]:
        network = MODELS.build(dict(type=f'{prefix}CR{name}', arch=arch))
        assert type(network) is CLASSES[name.lower()]


# Supernets, and architectures that their paths may be.
STAGE_SUPERNETS = {
    'r18': (CRResNet, {'depth': 18, **THIN}, (1, 1, 2, 4)),
    'r50': (CRResNet, {'depth': 50, **THIN}, (1, 3, 5, 7)),
    'x50': (
        CRResNeXt,
        {'depth': 50, 'groups': 8, 'base_channels': 16, 'norm_eval': False},
        (2, 2, 6, 6),
    ),
    'mv2': (CRMobileNetV2, {'widen_factor': 0.25}, MOBILENETV2),
}


@pytest.mark.parametrize('family', STAGE_SUPERNETS)
@pytest.mark.parametrize('share_prefix', [False, True])
def test_stage_path_is_the_stand_alone_network(family, share_prefix):
    network_class, arguments, path = STAGE_SUPERNETS[family]
    supernet = network_class(**arguments, search='stage', share_prefix=share_prefix)
    alone = network_class(**arguments, stage_blocks=path)
    # The branch that holds the weights of each stage, the longest where they are shared.
    if family == 'mv2':
        branches = dict(zip('23456', (5, 5, 7, 6, 6) if share_prefix else path[2:7]))
    else:
        branches = dict(zip('1234', (10, 10, 23, 17) if share_prefix else path))

    def own_name(name):
        stage = re.match(r'layer(\d)\.', name)
        if not stage or stage[1] not in branches:
            return name
        return f'{stage[0]}branches.{branches[stage[1]]}.{name[len(stage[0]) :]}'

    assert_path_is(supernet, path, alone, own_name)


@pytest.mark.parametrize('family', STAGE_SUPERNETS)
@pytest.mark.parametrize('share_weights', [False, True])
def test_operation_path_is_the_stand_alone_network(family, share_weights):
    network_class, arguments, blocks = STAGE_SUPERNETS[family]
    arguments = {**arguments, 'stage_blocks': blocks}
    supernet = network_class(**arguments, search='operation', share_weights=share_weights)
    units = sum(blocks)
    path = [1 + (3 * index // 2) % 3 for index in range(units)]
    if family == 'mv2':
        path[0] = path[-1] = path[-2] = 1
    alone = network_class(**arguments, dilations=path)
    rates = dict(zip(blocks_of('mobilenetv2' if family == 'mv2' else '', blocks), path))
    if family == 'mv2':
        rates = dict(zip(rates, path[1:-2]))

    def own_name(name):
        match = re.match(r'layer(\d\.\d+)\.(conv2|depthwise_conv\.conv)\.weight', name)
        if not match:
            return name
        candidate = 0 if share_weights else rates[match[1]] - 1
        return f'{name}s.{candidate}'

    assert_path_is(supernet, path, alone, own_name)


def assert_path_is(supernet, path, alone, own_name):
    """Outputs, gradients and batch norm statistics agree; the rest has no gradient."""
    torch.manual_seed(0)
    supernet, alone = randomise(supernet.double()), alone.double()
    for parameter in supernet.parameters():  # else candidates are copies of each other
        parameter.data += 0.01 * torch.randn_like(parameter)
    set_path(supernet, path)
    alone.load_state_dict(path_weights(supernet, path))
    for training in (False, True):
        supernet.train(training)
        alone.train(training)
        supernet.zero_grad(set_to_none=True)
        alone.zero_grad(set_to_none=True)
        x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        mine, theirs = supernet(x), alone(x)
        assert len(mine) == 4
        for first, second in zip(mine, theirs):
            torch.testing.assert_close(first, second)
        for outputs in (mine, theirs):
            sum(output.square().mean() for output in outputs).backward()
        parameters = dict(supernet.named_parameters())
        for name, parameter in alone.named_parameters():
            other = parameters.pop(own_name(name)).grad
            assert other is not None, name
            torch.testing.assert_close(other, parameter.grad)
        assert [name for name, other in parameters.items() if other.grad is not None] == []
        buffers = dict(supernet.named_buffers())
        for name, buffer in alone.named_buffers():
            if 'running' in name:
                torch.testing.assert_close(buffers[own_name(name)], buffer)


def test_stage_supernet_has_the_papers_branches_and_widths():
    supernet = CRResNet(depth=18, search='stage')
    lengths = [supernet.get_submodule(f'layer{i}').choices for i in (1, 2, 3, 4)]
    assert lengths == [
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        (2, 3, 5, 6, 9, 11, 14, 17, 20, 23),
        (2, 3, 4, 6, 7, 9, 11, 13, 15, 17),
    ]
    widths = [stage.branches['3'][0].conv2.out_channels for stage in choices(supernet)]
    assert widths == [32, 64, 128, 256]
    # 32x4d has 128 channels in its first stage, 32x2d has half of them.
    grouped = CRResNeXt(depth=50, groups=32, search='stage')
    widths = [stage.branches['3'][0].conv2.out_channels for stage in choices(grouped)]
    assert widths == [64, 128, 256, 512]
    assert supernet.conv1.out_channels == 32
    assert default_path(supernet) == supernet.stage_blocks == (2, 2, 2, 2)
    assert default_path(CRResNet(depth=101, search='stage', **THIN)) == (3, 4, 23, 3)


def choices(supernet):
    return list(choice_modules(supernet).values())


def test_mobilenet_stage_supernet_has_the_papers_branches():
    supernet = CRMobileNetV2(search='stage')
    lengths = {name: stage.choices for name, stage in choice_modules(supernet).items()}
    low, middle, high = (1, 2, 3, 4, 5), (3, 4, 5, 6, 7), (2, 3, 4, 5, 6)
    expected = [low, low, middle, high, high]
    assert lengths == {f'layer{index}': space for index, space in enumerate(expected, 2)}
    assert default_path(supernet) == MOBILENETV2_BASELINE
    path = sample_path(supernet, random.Random(0))
    assert len(path) == 10
    assert path[:2] + path[-3:] == (1,) * 5
    set_path(supernet, MOBILENETV2)
    assert [stage.choice for stage in choices(supernet)] == [2, 2, 3, 4, 4]
    with pytest.raises(ValueError, match='first 2 and the last 3 units are fixed'):
        set_path(supernet, (1, 1, 2, 2, 3, 4, 4, 2, 1, 1))


def test_operation_supernet_has_a_choice_in_each_block():
    supernet = CRResNet(arch='SCR-ResNet18', search='operation')
    assert list(choice_modules(supernet)) == [
        f'layer{block}.conv2' for block in ('1.0', '2.0', '3.0', '3.1', '4.0', '4.1', '4.2', '4.3')
    ]
    assert all(isinstance(part, ChoiceConv2d) for part in choices(supernet))
    assert {part.choices for part in choices(supernet)} == {(1, 2, 3)}
    assert supernet.layer1[0].conv2.out_channels == 32
    assert default_path(supernet) == (1,) * 8
    mobile = CRMobileNetV2(arch='SCR-MobileNetV2', search='operation')
    assert len(choices(mobile)) == 17
    assert default_path(mobile) == (1,) * 20
    with pytest.raises(ValueError, match='first 1 and the last 2 units are fixed'):
        set_path(mobile, [2] + [1] * 19)


def test_search_result_of_stages_goes_into_the_operation_search():
    final = CRResNet(depth=18, stage_blocks=(1, 1, 2, 4))
    pattern = block_pattern(final, [1] * 8, 'backbone')
    # The supernet is half as wide as the network that the pattern is for.
    supernet = CRResNet(depth=18, pattern=pattern, search='operation')
    assert supernet.stage_blocks == (1, 1, 2, 4)
    dilated = block_pattern(final, [1] * 7 + [2])
    with pytest.raises(ValueError, match=r"search='operation' chooses the dilations; pattern="):
        CRResNet(depth=18, pattern=dilated, search='operation')


def test_plain_checkpoint_fills_all_candidates():
    plain = randomise(mmdet.ResNet(18, **THIN))
    supernet = CRResNet(arch='ResNet18', search='operation', **THIN)
    result = supernet.load_state_dict(plain.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    for name, conv in choice_modules(supernet).items():
        weight = plain.get_submodule(name).weight
        assert all(torch.equal(candidate, weight) for candidate in conv.weights)
    supernet.eval()
    x = torch.randn(1, 3, 64, 64)
    for mine, theirs in zip(supernet(x), plain(x)):
        torch.testing.assert_close(mine, theirs)


def test_frozen_stages_and_initialisation_reach_the_branches():
    supernet = CRResNet(depth=50, search='stage', base_channels=4, frozen_stages=1)
    supernet.init_weights()
    supernet.train()
    assert isinstance(supernet.layer1, StageBranches)
    assert not any(parameter.requires_grad for parameter in supernet.layer1.parameters())
    assert all(parameter.requires_grad for parameter in supernet.layer2.parameters())
    block = supernet.layer3.branches['23'][22]
    # mmdet zeroes the last norm of each block and draws convolutions with fan-out.
    assert (block.norm3.weight == 0).all()
    assert block.conv2.weight.std().item() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize('name', ['CR-ResNet18', 'CR-ResNet50', 'CR-MobileNetV2'])
def test_pattern_file_is_the_network(name, tmp_path):
    family, depth, stage_blocks, _ = PUBLISHED[name]
    common = {'widen_factor': 0.25} if family == 'mobilenetv2' else THIN
    network = randomise(CLASSES[family](arch=name, **common))
    layers = {key: conv.dilations[0, 0].item() for key, conv in block_convs(network).items()}
    dilations = list(layers.values())
    if family == 'mobilenetv2':
        dilations = [1, *dilations, 1, 1]
    block_pattern(network, dilations, 'backbone', {'path': dilations}).save(tmp_path / 'cr.json')
    filed = json.loads((tmp_path / 'cr.json').read_text())
    assert filed['method'] == 'cr_nas'
    assert filed['stage_blocks'] == list(stage_blocks)
    assert {key: layer['dilations'][0][0] for key, layer in filed['layers'].items()} == layers
    depth_given = {} if depth is None else {'depth': depth}
    again = CLASSES[family](pattern=tmp_path / 'cr.json', **depth_given, **common)
    again.load_state_dict(network.state_dict())
    again.eval()
    x = torch.randn(1, 3, 64, 64)
    for mine, theirs in zip(again(x), network(x)):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize('family', ['resnet', 'mobilenetv2'])
def test_pattern_on_the_baselines_blocks_is_read_by_ic_backbones(family, tmp_path):
    if family == 'resnet':
        arguments, blocks, ic_class = {'depth': 18, **THIN}, (2, 2, 2, 2), ICResNet
        dilations = [1, 2, 3, 1, 2, 3, 1, 2]
    else:
        arguments, blocks, ic_class = {'widen_factor': 0.25}, MOBILENETV2_BASELINE, ICMobileNetV2
        dilations = [1, *[1, 2, 3] * 5, 2, 3, 1, 1]
    network = CLASSES[family](stage_blocks=blocks, dilations=dilations, **arguments)
    randomise(network)
    block_pattern(network, dilations).save(tmp_path / 'cr.json')
    other = ic_class(pattern=tmp_path / 'cr.json', **arguments)
    other.load_state_dict(network.state_dict())
    other.eval()
    x = torch.randn(1, 3, 64, 64)
    for mine, theirs in zip(other(x), network(x)):
        assert torch.equal(mine, theirs)


FINAL = {'depth': 50, 'stage_blocks': [1, 3, 5, 7]}
MOBILE = {'stage_blocks': list(MOBILENETV2)}


@pytest.mark.parametrize(
    ('network_class', 'arguments', 'message'),
    [
        (CRResNet, {'depth': 50}, 'exactly one of arch, stage_blocks, pattern .*; got none'),
        (CRResNet, {'search': 'operation', 'depth': 50}, 'exactly one of .*; got none'),
        (CRResNet, {**FINAL, 'arch': 'CR-ResNet50'}, "got arch='CR-ResNet50', stage_blocks=.1, 3"),
        (CRResNet, {**FINAL, 'search': 'stage'}, r'itself, got stage_blocks=\[1, 3, 5, 7\]'),
        (
            CRResNet,
            {**FINAL, 'search': 'both'},
            "search must be 'stage' or 'operation', got 'both'",
        ),
        (CRResNet, {'arch': 'CR-ResNet34'}, "no architecture 'CR-ResNet34'. .*CR-ResNet101"),
        (CRResNet, {'arch': 'CR-ResNet50', 'depth': 18}, 'has depth=50, got depth=18'),
        (CRResNet, {'arch': 'CR-MobileNetV2'}, "is a resnet; arch='CR-MobileNetV2' is a mobilenet"),
        (CRResNeXt, {'arch': 'CR-ResNet50'}, "CRResNeXt is a resnext; arch='CR-ResNet50'"),
        (CRResNeXt, {'arch': 'SCR-ResNeXt50-32x4d', 'groups': 64}, 'has groups=32, got groups=64'),
        (CRResNet, {'search': 'stage'}, r'depth must be one of \[18, .*got None'),
        (CRResNet, {'search': 'stage', 'depth': 152}, r'depth=152 cannot be .*\[3, 8, 36, 3\]'),
        (CRResNet, {'depth': 20, 'stage_blocks': [1, 1, 1, 1]}, 'depth must be one of.*got 20'),
        (CRResNet, {**FINAL, 'num_stages': 3}, 'got num_stages=3'),
        (
            CRResNet,
            {'depth': 50, 'stage_blocks': [0, 4, 5, 7]},
            r'at least one, got \[0, 4, 5, 7\]',
        ),
        (CRResNet, {'depth': 50, 'stage_blocks': [1, 3, 12]}, r'four numbers, got \[1, 3, 12\]'),
        (CRResNet, {'depth': 50, 'stage_blocks': [1, 3, 5, 8]}, 'has 17 blocks; it must have 16'),
        (CRResNet, {**FINAL, 'dilations': [1] * 15}, r'16 whole numbers, .*got \[1, 1'),
        (CRResNet, {**FINAL, 'dilations': [1] * 15 + [4]}, 'entry 15 .from 0. is 3; it must be'),
        (CRResNet, {**FINAL, 'dilations': [0] + [1] * 15}, 'entry 0 .from 0. is -1; it must be'),
        (CRResNet, {**FINAL, 'dilations': [1.5] + [1] * 15}, '16 whole numbers'),
        (CRResNet, {'arch': 'CR-ResNet50', 'dilations': [1] * 16}, 'go with stage_blocks'),
        (CRResNet, {**FINAL, 'search': 'operation', 'dilations': [1] * 16}, 'without search'),
        (
            CRResNet,
            {'arch': 'CR-ResNet50', 'search': 'operation'},
            "'CR-ResNet50' has them already",
        ),
        (CRResNet, {**FINAL, 'share_prefix': True}, "share_prefix goes with search='stage'"),
        (CRResNet, {'depth': 50, 'search': 'stage', 'share_weights': True}, 'share_weights with'),
        (CRMobileNetV2, {'stage_blocks': [1, 3, 5, 7]}, r'is \[1, 1, m1, .*got \[1, 3, 5, 7\]'),
        (CRMobileNetV2, {'stage_blocks': [1, 1, 2, 3, 4, 3, 4, 1, 1, 1]}, 'cost 17.25; the budget'),
        (CRMobileNetV2, {'stage_blocks': [2, 1, 2, 2, 3, 4, 4, 1, 1, 1]}, 'units are fixed'),
        (CRMobileNetV2, {**MOBILE, 'dilations': [2] + [1] * 19}, 'entry 0 .* must have 0'),
        (CRMobileNetV2, {**MOBILE, 'dilations': [1] * 18 + [2, 1]}, 'entry 18 .* must have 0'),
        (CRMobileNetV2, {**MOBILE, 'dilations': [1] * 17}, '20 whole numbers'),
    ],
)
def test_bad_arguments_are_refused(network_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        network_class(**arguments)


def test_deformable_blocks_have_no_dilation_to_choose():
    dcn = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
    deformable = dict(dcn=dcn, stage_with_dcn=(False, True, True, True), **THIN)
    with pytest.raises(ValueError, match='15 of 16 blocks have no plain 3x3 convolution'):
        CRResNet(**FINAL, search='operation', **deformable)


def test_bad_patterns_are_refused_by_name(tmp_path):
    network = CRResNet(depth=18, stage_blocks=(1, 1, 2, 4), **THIN)
    pattern = block_pattern(network, [1, 1, 2, 1, 2, 1, 3, 2])
    pattern.save(tmp_path / 'r18.json')
    with pytest.raises(PatternError, match=r'r18\.json: stage code .* 8 blocks; it must have 16'):
        CRResNet(depth=50, pattern=tmp_path / 'r18.json')
    with pytest.raises(PatternError, match=r'r18\.json: layer .* output channels is 4 .* 64'):
        CRResNet(depth=18, pattern=tmp_path / 'r18.json')
    pattern.layers.pop('layer4.3.conv2')
    pattern.save(tmp_path / 'short.json')
    with pytest.raises(PatternError, match=r"short\.json: .*'layer4\.3\.conv2' is not in the file"):
        CRResNet(depth=18, pattern=tmp_path / 'short.json', **THIN)
    DilationPattern(pattern.layers, 'edo').save(tmp_path / 'edo.json')
    with pytest.raises(PatternError, match=r'edo\.json: no stage_blocks are in it'):
        CRResNet(depth=18, pattern=tmp_path / 'edo.json')
    with pytest.raises(FileNotFoundError, match='no pattern file'):
        CRResNet(depth=18, pattern=tmp_path / 'missing.json')
