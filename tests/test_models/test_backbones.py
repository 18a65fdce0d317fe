"""IC backbones: patterns fit, plain checkpoints fit, mmdet's arguments keep working."""

import json

import pytest
import torch
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.layers import ICConv2d
from mmic.pattern import DilationPattern, LayerPattern, PatternError
from mmic.supernet import WideConv2d

mmdet = pytest.importorskip('mmdet.models.backbones', reason='mmdet is not installed')

from mmic.models import ICMobileNetV2, ICResNet, ICResNeXt, build_searched, build_supernet  # noqa: E402

THIN = {'base_channels': 8}
FAMILIES = {
    'r18': (ICResNet, mmdet.ResNet, {'depth': 18, **THIN}),
    'r50': (ICResNet, mmdet.ResNet, {'depth': 50, **THIN}),
    'r50_deep_stem': (
        ICResNet,
        mmdet.ResNet,
        {'depth': 50, 'deep_stem': True, 'avg_down': True, 'stem_channels': 16, **THIN},
    ),
    'x50': (ICResNeXt, mmdet.ResNeXt, {'depth': 50, 'groups': 8, 'base_width': 4}),
    'mv2': (ICMobileNetV2, mmdet.MobileNetV2, {'widen_factor': 0.5}),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def randomise(network):
    """Random batch norm statistics and affine terms: fresh ones hide errors."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network


def convs_3x3(network):
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    }


def pattern_for(network, dilation=None):
    """One pattern of a network's 3x3 convolutions: random, or one dilation throughout."""
    layers = {}
    for name, conv in convs_3x3(network).items():
        dilations = torch.randint(1, 5, (conv.out_channels, 2))
        if dilation:
            dilations = torch.full_like(dilations, dilation)
        layers[name] = LayerPattern(dilations, (3, 3), conv.in_channels, conv.groups)
    return DilationPattern(layers, 'edo')


def outputs(network, size=64):
    network.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        return network(torch.randn(2, 3, size, size))


def assert_outputs_equal(first, second):
    for mine, theirs in zip(outputs(first), outputs(second)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_pattern_of_ones_is_the_plain_network(family):
    searched_class, plain_class, arguments = family
    plain = randomise(plain_class(**arguments))
    searched = searched_class(**arguments, pattern=pattern_for(plain, 1))
    result = searched.load_state_dict(plain.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    assert sum(isinstance(module, ICConv2d) for module in searched.modules()) == len(
        convs_3x3(plain)
    )
    assert_outputs_equal(searched, plain)


def test_plain_checkpoint_in_the_supernet_is_the_plain_network(family):
    supernet_class, plain_class, arguments = family
    plain = randomise(plain_class(**arguments))
    supernet = supernet_class(**arguments, d_max=3)
    wide = {n for n, m in supernet.named_modules() if isinstance(m, WideConv2d)}
    assert wide == set(convs_3x3(plain))
    result = supernet.load_state_dict(plain.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    assert_outputs_equal(supernet, plain)


def test_searched_network_has_the_plain_parameters(family):
    searched_class, plain_class, arguments = family
    plain = plain_class(**arguments)
    searched = searched_class(**arguments, pattern=pattern_for(plain))
    mine = {name: value.shape for name, value in searched.named_parameters()}
    assert mine == {name: value.shape for name, value in plain.named_parameters()}
    assert [o.shape for o in outputs(searched)] == [o.shape for o in outputs(plain)]


def published_form(network, d_max, generator):
    """A file's content as the authors of IC-Conv publish it: counts of every dilation."""
    content = []
    for conv in convs_3x3(network).values():
        keys = [f'({h}, {w})' for h in range(d_max) for w in range(d_max)]
        cuts = torch.randint(0, conv.out_channels + 1, (len(keys) - 1,), generator=generator)
        cuts = [0, *cuts.sort().values.tolist(), conv.out_channels]
        content.append({key: cuts[i + 1] - cuts[i] for i, key in enumerate(keys)})
    return content


@pytest.mark.parametrize(('depth', 'd_max'), [(50, 4), (50, 6), (101, 4)])
def test_published_form_fits_and_costs_nothing(depth, d_max, tmp_path):
    """Forward at 224; parameters and multiply-adds equal the plain network's to the digit."""
    from mmengine.analysis import get_model_complexity_info

    plain = mmdet.ResNet(depth)
    path = tmp_path / 'published.json'
    content = published_form(plain, d_max, torch.Generator().manual_seed(0))
    path.write_text(json.dumps(content))
    searched = ICResNet(depth, pattern=path)
    conv = searched.get_submodule('layer2.0.conv2')
    counts = [count for count in content[3].values() if count]
    assert torch.unique_consecutive(conv.dilations, dim=0, return_counts=True)[1].tolist() == counts
    mine, theirs = (
        get_model_complexity_info(network.eval() or network, (3, 224, 224))
        for network in (searched, plain)
    )
    assert mine['params'] == theirs['params']
    assert mine['flops'] == theirs['flops']
    assert [o.shape[-1] for o in outputs(searched, 224)] == [56, 28, 14, 7]


def test_pattern_of_another_depth_is_refused(tmp_path):
    path = tmp_path / 'r101.json'
    pattern_for(mmdet.ResNet(101, **THIN)).save(path)
    with pytest.raises(PatternError, match=r"r101\.json: layer 'layer3\.6\.conv2' of the file"):
        ICResNet(50, pattern=str(path), **THIN)
    published = tmp_path / 'published.json'
    content = published_form(mmdet.ResNet(101), 2, torch.Generator().manual_seed(0))
    published.write_text(json.dumps(content))
    with pytest.raises(PatternError, match=r'published\.json: 33 entries.* 16 searched'):
        ICResNet(50, pattern=str(published))


@pytest.mark.parametrize('arguments', [{}, {'d_max': 4, 'pattern': 'x.json'}])
def test_exactly_one_of_d_max_and_pattern(arguments):
    with pytest.raises(ValueError, match=r'exactly one of d_max .* and pattern .*, got d_max='):
        ICResNet(18, **arguments)


def test_dilated_stage_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'layer4\.\d\.conv\d': .*dilation=\(2, 2\)"):
        ICResNet(50, d_max=4, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), **THIN)


def test_stem_can_be_left_out():
    deep = {'depth': 50, 'deep_stem': True, **THIN}
    everything, less = ICResNet(**deep, d_max=2), ICResNet(**deep, d_max=2, search_stem=False)
    wide = [
        {name for name, module in network.named_modules() if isinstance(module, WideConv2d)}
        for network in (everything, less)
    ]
    assert wide[0] - wide[1] == {'stem.0', 'stem.3', 'stem.6'}
    mobile = ICMobileNetV2(d_max=2, search_stem=False)
    assert type(mobile.conv1.conv) is nn.Conv2d


@pytest.mark.parametrize('arguments', [{'d_max': 2}, {'pattern': True}])
@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_frozen_stages_norm_eval_with_cp_and_style(arguments, style):
    common = {'depth': 50, 'style': style, **THIN}
    if 'pattern' in arguments:
        arguments = {'pattern': pattern_for(mmdet.ResNet(**common))}
    network = ICResNet(**common, **arguments, frozen_stages=2, norm_eval=True, with_cp=True)
    network.init_weights()
    # mmdet zeroes the last norm of each block, which would hide conv2's gradient.
    randomise(network).train()
    assert not any(p.requires_grad for p in network.layer2.parameters())
    assert all(p.requires_grad for p in network.layer3.parameters())
    assert not network.layer3[0].bn2.training
    assert not network.layer2[0].conv2.training
    network(torch.randn(1, 3, 64, 64))[-1].sum().backward()
    assert network.layer2[0].conv2.weight.grad is None
    assert network.layer4[1].conv2.weight.grad.abs().sum() > 0


def test_pretrained_init_cfg_loads_a_plain_checkpoint(tmp_path):
    plain = randomise(mmdet.ResNet(18, **THIN))
    state = {f'backbone.{name}': value for name, value in plain.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'plain.pth')
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'plain.pth')}
    init_cfg['prefix'] = 'backbone.'
    for arguments in ({'d_max': 4}, {'pattern': pattern_for(plain, 1)}):
        network = ICResNet(18, **THIN, **arguments, init_cfg=init_cfg)
        network.init_weights()
        assert_outputs_equal(network, plain)


def test_kaiming_init_reaches_the_whole_kernel():
    network = ICResNet(18, **THIN, d_max=4)
    before = network.layer1[0].conv1.weight.clone()
    network.init_weights()
    weight = network.layer1[0].conv1.weight
    assert not torch.equal(weight, before)
    # Kaiming over the 9x9 kernel's fan-out, not over 3x3's.
    assert weight.std().item() == pytest.approx((2 / (8 * 81)) ** 0.5, rel=0.1)


def test_checkpoint_of_another_pattern_is_refused_by_mmengine_too(tmp_path):
    """mmengine's non-strict loader only logs a module's errors; this one must stop it."""
    from mmengine.runner import load_checkpoint

    plain = mmdet.ResNet(18, **THIN)
    torch.manual_seed(0)
    trained, other = (ICResNet(18, **THIN, pattern=pattern_for(plain)) for _ in range(2))
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'trained.pth')
    with pytest.raises(PatternError, match=r"'layer1\.0\.conv1': .*another dilation pattern"):
        load_checkpoint(other, str(tmp_path / 'trained.pth'))


@pytest.mark.parametrize('prefix', ['', 'mmic.'])
def test_builders_search_parts_of_any_model(prefix, tmp_path):
    init_default_scope('mmdet')
    neck = dict(type='mmdet.FPN', in_channels=[8, 16], out_channels=8, num_outs=3)
    supernet = MODELS.build(
        dict(type=f'{prefix}build_supernet', model=neck, d_max=2, select='fpn_convs')
    )
    wide = {name for name, module in supernet.named_modules() if isinstance(module, WideConv2d)}
    assert wide == {'fpn_convs.0.conv', 'fpn_convs.1.conv'}
    from mmic.search.edo import search_network

    pattern, _ = search_network(supernet)
    pattern.save(tmp_path / 'neck.json')
    searched = MODELS.build(
        dict(type=f'{prefix}build_searched', model=neck, pattern=str(tmp_path / 'neck.json'))
    )
    x = [torch.randn(1, 8, 8, 8), torch.randn(1, 16, 4, 4)]
    assert [o.shape for o in searched(x)] == [o.shape for o in supernet(x)]
    assert isinstance(searched.fpn_convs[1].conv, ICConv2d)


def test_builder_takes_names_relative_to_the_scope():
    init_default_scope('mmdet')
    model = dict(
        type='mmdet.RetinaNet',
        backbone=dict(type='mmdet.ResNet', depth=18, **THIN),
        neck=dict(type='mmdet.FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5),
        bbox_head=dict(type='mmdet.RetinaHead', num_classes=2, in_channels=8, feat_channels=8),
    )
    supernet = build_supernet(model, 2, select='backbone')
    assert isinstance(supernet.backbone.layer1[0].conv1, WideConv2d)
    assert type(supernet.neck.fpn_convs[0].conv) is nn.Conv2d
    pattern = pattern_for(mmdet.ResNet(18, **THIN))
    pattern.scope = 'backbone'
    searched = build_searched(model, pattern)
    conv = searched.backbone.layer4[0].conv1
    assert torch.equal(conv.dilations, pattern.layers['layer4.0.conv1'].dilations)
    pattern.layers.pop('layer4.0.conv1')
    with pytest.raises(PatternError, match=r"'layer4\.0\.conv1' is not in the file"):
        ICResNet(18, **THIN, pattern=pattern)


def test_sync_bn_and_deepcopy_survive():
    import copy

    network = ICResNet(18, **THIN, d_max=2, norm_cfg={'type': 'SyncBN'})
    twin = copy.deepcopy(revert_sync_batchnorm(network))
    assert_outputs_equal(twin, revert_sync_batchnorm(network))
