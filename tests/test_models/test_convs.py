"""PSConv and DO-Conv in networks: by backbone, by ``conv_cfg`` and by ``build_swapped``."""

import copy
import pickle

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.pattern import PatternError

mmdet = pytest.importorskip('mmdet.models.backbones', reason='mmdet is not installed')

from mmcv.cnn import build_conv_layer  # noqa: E402

from mmic.models import PSResNet, PSResNeXt, build_swapped  # noqa: E402
from mmic.models.convs import to_swapped  # noqa: E402

THIN = {'base_channels': 8}
PS, DO = {'type': 'PSConv2d'}, {'type': 'DOConv2d'}


@pytest.fixture(autouse=True)
def _mmdet_scope():
    init_default_scope('mmdet')


def randomise(network):
    """Random batch norm statistics and affine terms: fresh ones hide errors."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        elif isinstance(module, DOConv2d):
            nn.init.normal_(module.depthwise, std=0.1)
    return network


def names(network, kind):
    """Names of the convolutions of exactly one kind."""
    return {name for name, module in network.named_modules() if type(module) is kind}


def convs(network, rule):
    """Names of the convolutions whose kernel size fits a rule."""
    return {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and rule(module.kernel_size)
    }


def is_3x3(size):
    return size == (3, 3)


def is_not_1x1(size):
    return size != (1, 1)


def outputs(network, size=64):
    network.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        result = network(torch.randn(2, 3, size, size))
    return result if isinstance(result, (list, tuple)) else [result]


def assert_outputs_equal(first, second):
    for mine, theirs in zip(outputs(first), outputs(second)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def fold(network):
    """A copy whose DO-Conv layers are folded."""
    network = copy.deepcopy(network)
    for name in names(network, DOConv2d):
        parent, _, attribute = name.rpartition('.')
        setattr(network.get_submodule(parent), attribute, network.get_submodule(name).fuse())
    return network


# PSResNet and PSResNeXt


@pytest.mark.parametrize(
    ('ps_class', 'plain_class', 'arguments'),
    [
        (PSResNet, mmdet.ResNet, {'depth': 18, **THIN}),
        (PSResNet, mmdet.ResNet, {'depth': 50, **THIN}),
        (PSResNeXt, mmdet.ResNeXt, {'depth': 50, 'groups': 8, 'base_width': 4}),
    ],
)
def test_backbone_takes_a_plain_checkpoint(ps_class, plain_class, arguments):
    plain = randomise(plain_class(**arguments))
    network, ones = ps_class(**arguments), ps_class(**arguments, pattern=(1, 1))
    assert names(network, PSConv2d) == convs(plain, is_3x3)
    for ps in (network, ones):
        result = ps.load_state_dict(plain.state_dict())
        assert not result.missing_keys + result.unexpected_keys
    assert_outputs_equal(ones, plain)
    mine, theirs = outputs(network), outputs(plain)
    assert [o.shape for o in mine] == [o.shape for o in theirs]
    assert not torch.allclose(mine[-1], theirs[-1], rtol=0.1)
    shapes = [{n: p.shape for n, p in net.named_parameters()} for net in (network, plain)]
    assert shapes[0] == shapes[1]


def multiply_adds(network, size=224):
    """Of convolutions and fully connected layers alone, by forward hooks."""
    total = []

    def count(module, inputs, output):
        places = output.shape[2:].numel() if output.dim() == 4 else 1
        total.append(module.weight.numel() * places)

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    network.eval()
    with torch.no_grad():
        network(torch.randn(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return sum(total)


def test_ps_resnet_50_costs_what_the_paper_prints():
    """Table 2: 25.557 M parameters, 4.089 GFLOPs, both those of ResNet-50."""
    pytest.importorskip('mmpretrain')
    from mmengine.analysis import get_model_complexity_info

    init_default_scope('mmpretrain')

    def classifier(backbone):
        return MODELS.build(
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type=backbone, depth=50, out_indices=(3,)),
                neck=dict(type='mmpretrain.GlobalAveragePooling'),
                head=dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=2048),
            )
        ).eval()

    poly_scale, plain = classifier('PSResNet'), classifier('mmdet.ResNet')
    assert len(names(poly_scale, PSConv2d)) == 16
    assert sum(parameter.numel() for parameter in poly_scale.parameters()) == 25_557_032
    assert round(multiply_adds(poly_scale) / 1e9, 3) == 4.089
    assert multiply_adds(poly_scale) == multiply_adds(plain)
    mine, theirs = (get_model_complexity_info(net, (3, 224, 224)) for net in (poly_scale, plain))
    assert mine['params'] == theirs['params'] == 25_557_032
    assert mine['flops'] == theirs['flops']


@pytest.mark.parametrize('depth', [50, 101])
def test_resnext_32x4d_has_just_enough_channels(depth):
    """In layer1 the four inputs of a group hold the pattern once."""
    with torch.device('meta'):
        plain = mmdet.ResNeXt(depth=depth, groups=32, base_width=4)
        network = PSResNeXt(depth=depth, groups=32, base_width=4)
        assert [o.shape[1] for o in network(torch.empty(1, 3, 64, 64))] == [256, 512, 1024, 2048]
    assert names(network, PSConv2d) == convs(plain, is_3x3)
    assert network.layer1[0].conv2.dilations.shape == (128, 4)
    real = PSConv2d(128, 128, 3, groups=32)
    assert real.dilations[:5].tolist() == [
        [1, 2, 1, 4],
        [4, 1, 2, 1],
        [1, 4, 1, 2],
        [2, 1, 4, 1],
        [1, 2, 1, 4],
    ]


def test_ps_resnext_runs_with_gradients():
    network = randomise(PSResNeXt(depth=50, groups=32, base_width=4, with_cp=True))
    network.train()
    network(torch.randn(2, 3, 32, 32))[-1].square().sum().backward()
    for name in ('layer1.0.conv2', 'layer4.2.conv2'):
        assert network.get_submodule(name).weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (
            lambda: PSResNeXt(depth=50, groups=32, base_width=2),
            r"'layer1\.0\.conv2': a pattern of 4.*2",
        ),
        (lambda: PSResNet(18, pattern=(), **THIN), r"'layer1\.0\.conv1': pattern.*at least one"),
        (lambda: PSResNet(18, pattern=(1, 0), **THIN), r"'layer1\.0\.conv1': .*got 0"),
        (lambda: PSResNet(18, pattern=(1, 1.5), **THIN), r"'layer1\.0\.conv1': .*1\.5"),
        (lambda: PSResNet(18, pattern=(1, True), **THIN), r"'layer1\.0\.conv1': .*True"),
    ],
)
def test_impossible_backbones_are_refused_by_name_of_the_layer(build, message):
    with pytest.raises(PatternError, match=message):
        build()


def test_dilated_stage_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'layer4\.\d\.conv\d': .*dilation=\(2, 2\)"):
        PSResNet(50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), **THIN)


def test_checkpoint_of_another_pattern_is_refused_by_mmengine_too(tmp_path):
    from mmengine.runner import load_checkpoint

    trained = PSResNet(18, **THIN)
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'trained.pth')
    other = PSResNet(18, pattern=(1, 4, 1, 2), **THIN)
    with pytest.raises(PatternError, match=r"'layer1\.0\.conv1': .*another dilation pattern"):
        load_checkpoint(other, str(tmp_path / 'trained.pth'))


# DO-Conv by conv_cfg


@pytest.mark.parametrize('prefix', ['', 'mmic.'])
@pytest.mark.parametrize('depth', [18, 50])
def test_conv_cfg_in_mmdets_resnet(depth, prefix):
    """1x1 convolutions stay plain; the 7x7 stem is replaced too."""
    plain = randomise(mmdet.ResNet(depth, **THIN))
    network = mmdet.ResNet(depth, conv_cfg=dict(type=f'{prefix}DOConv2d'), **THIN)
    assert names(network, DOConv2d) == convs(plain, is_not_1x1)
    assert names(network, nn.Conv2d) == convs(plain, lambda size: size == (1, 1))
    assert network.conv1.depthwise.shape == (49, 49, 3)
    result = network.load_state_dict(plain.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    assert_outputs_equal(network, plain)


def test_conv_cfg_passes_the_layers_options():
    network = mmdet.ResNet(18, conv_cfg=dict(type='DOConv2d', d_mul=49, init='random'), **THIN)
    assert network.layer1[0].conv1.depthwise.shape == (9, 49, 8)
    assert network.layer1[0].conv1.init == 'random'
    # The stem's 49 taps are the smallest d_mul that fits all.
    with pytest.raises(ValueError, match='from 49 up.*got 48'):
        mmdet.ResNet(18, conv_cfg=dict(type='DOConv2d', d_mul=48), **THIN)


def test_conv_cfg_in_mmpretrains_resnet():
    pytest.importorskip('mmpretrain')
    arguments = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    plain = randomise(MODELS.build(arguments))
    network = MODELS.build(dict(arguments, conv_cfg=DO))
    assert names(network, DOConv2d) == convs(plain, is_not_1x1)
    network.load_state_dict(plain.state_dict())
    assert_outputs_equal(network, plain)


def test_conv_cfg_in_mobilenet_reaches_depthwise_convolutions():
    plain = randomise(mmdet.MobileNetV2(widen_factor=0.5))
    network = mmdet.MobileNetV2(widen_factor=0.5, conv_cfg=DO)
    assert names(network, DOConv2d) == convs(plain, is_not_1x1)
    network.load_state_dict(plain.state_dict())
    assert_outputs_equal(network, plain)


def test_initialisation_of_mmdet_keeps_d_at_the_identity():
    network = mmdet.ResNet(18, conv_cfg=DO, **THIN)
    network.init_weights()
    assert all(network.get_submodule(n).depthwise.eq(0).all() for n in names(network, DOConv2d))


@pytest.mark.parametrize('form', ['conv_cfg', 'swapped'])
def test_frozen_stages_keep_d_frozen(form):
    arguments = dict(depth=18, frozen_stages=1, norm_eval=True, **THIN)
    if form == 'conv_cfg':
        network = mmdet.ResNet(**arguments, conv_cfg=DO)
    else:
        network = to_swapped(mmdet.ResNet(**arguments), DO)

    def check_frozen():
        for name in names(network, DOConv2d):
            frozen = name.startswith(('conv1', 'layer1'))
            layer = network.get_submodule(name)
            assert layer.weight.requires_grad is not frozen, name
            assert layer.depthwise.requires_grad is not frozen, name

    # Before anything calls train(), which freezes in mmdet once more.
    check_frozen()
    network.init_weights()
    randomise(network).train()
    check_frozen()
    network(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
    assert network.layer1[0].conv1.depthwise.grad is None
    assert network.layer2[0].conv1.depthwise.grad.abs().sum() > 0
    folded = fold(network)
    assert not folded.layer1[0].conv1.weight.requires_grad
    assert folded.layer2[0].conv1.weight.requires_grad


@pytest.mark.parametrize('depth', [18, 50])
def test_folded_network_is_the_plain_one(depth):
    """Same keys, shapes and multiply-adds; loads into mmdet's ResNet; equal outputs."""
    from mmengine.analysis import get_model_complexity_info

    trained = randomise(mmdet.ResNet(depth, conv_cfg=DO, **THIN))
    folded, plain = fold(trained), mmdet.ResNet(depth, **THIN)
    assert not names(folded, DOConv2d)
    result = plain.load_state_dict(folded.state_dict())
    assert not result.missing_keys + result.unexpected_keys
    assert_outputs_equal(folded, trained)
    assert_outputs_equal(plain, trained)
    mine, theirs = (get_model_complexity_info(n, (3, 64, 64)) for n in (folded, plain))
    assert mine['params'] == theirs['params']
    assert mine['flops'] == theirs['flops']


# Any network through the builder

FPN = dict(type='mmdet.FPN', in_channels=[8, 16], out_channels=8, num_outs=4)
EXTRA = dict(FPN, add_extra_convs='on_output')
RPN = dict(
    type='mmdet.RPNHead',
    in_channels=8,
    feat_channels=8,
    anchor_generator=dict(
        type='mmdet.AnchorGenerator', scales=[8], ratios=[1.0], strides=[8, 16, 32, 64]
    ),
    bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
    loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
    loss_bbox=dict(type='mmdet.L1Loss'),
)
SHARED_HEAD = dict(type='mmdet.ResLayer', depth=50, stage=1, stride=1)
LEVELS = [(8, 32), (16, 16)]


def levels(channels=LEVELS):
    torch.manual_seed(2)
    return [torch.randn(1, channel, side, side) for channel, side in channels]


def flat(result):
    if isinstance(result, torch.Tensor):
        return [result]
    return [tensor for part in result for tensor in flat(part)]


PARTS = {
    'fpn': (FPN, levels()),
    'fpn_extra': (EXTRA, levels()),
    'rpn': (RPN, levels([(8, 32), (8, 16)])),
    'shared_head': (SHARED_HEAD, torch.randn(1, 256, 7, 7)),
}


@pytest.mark.parametrize('prefix', ['', 'mmic.'])
@pytest.mark.parametrize('part', PARTS)
def test_do_conv_in_parts_that_take_no_conv_cfg(part, prefix):
    config, x = PARTS[part]
    plain = randomise(MODELS.build(copy.deepcopy(config)))
    network = MODELS.build(dict(type=f'{prefix}build_swapped', model=config, conv=DO))
    for module in (plain, network):
        module.eval()  # Returns nothing in mmdet's ResNet and ResLayer.
    assert names(network, DOConv2d) == convs(plain, is_not_1x1)
    network.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for mine, theirs in zip(flat(network(x)), flat(plain(x))):
            torch.testing.assert_close(mine, theirs)
        randomise(network)
        for mine, theirs in zip(flat(fold(network)(x)), flat(network(x))):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_fpn_with_psconv():
    """The paper's footnote 4."""
    network = build_swapped(EXTRA, PS)
    assert names(network, PSConv2d) == {f'fpn_convs.{i}.conv' for i in range(4)}
    assert names(network, nn.Conv2d) == {f'lateral_convs.{i}.conv' for i in range(2)}
    ones = build_swapped(EXTRA, dict(PS, pattern=[1, 1]))
    plain = MODELS.build(copy.deepcopy(EXTRA))
    for model in (network, ones):
        model.load_state_dict(plain.state_dict())
    for mine, theirs in zip(ones(levels()), plain(levels())):
        torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(network(levels())[0], plain(levels())[0], rtol=0.1)


def test_fpn_takes_do_conv_by_conv_cfg_too():
    by_config = MODELS.build(dict(FPN, conv_cfg=DO))
    assert names(by_config, DOConv2d) == names(build_swapped(FPN, DO), DOConv2d)


def test_detector_with_do_conv_in_every_part():
    """A detector adds training options to its rpn_head's config, which must reach the head."""
    roi = dict(
        type='StandardRoIHead',
        shared_head=dict(type='build_swapped', model=SHARED_HEAD, conv=DO),
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7),
            out_channels=8,
            featmap_strides=[8, 16],
        ),
        bbox_head=dict(type='Shared2FCBBoxHead', in_channels=8, fc_out_channels=8, num_classes=2),
    )
    sampler = dict(type='RandomSampler', num=8, pos_fraction=0.5)
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3)
    model = MODELS.build(
        ConfigDict(
            type='FasterRCNN',
            backbone=dict(type='ResNet', depth=18, out_indices=(1, 2), conv_cfg=DO, **THIN),
            neck=dict(FPN, in_channels=[16, 32], conv_cfg=DO),
            rpn_head=dict(type='build_swapped', model=RPN, conv=DO),
            roi_head=roi,
            train_cfg=dict(
                rpn=dict(assigner=assigner, sampler=sampler),
                rpn_proposal=dict(),
                rcnn=dict(assigner=assigner, sampler=sampler),
            ),
            test_cfg=dict(rpn=dict(nms_pre=7), rcnn=dict()),
        )
    )
    assert type(model.rpn_head).__name__ == 'RPNHead'
    assert model.rpn_head.num_classes == 1
    assert model.rpn_head.test_cfg.nms_pre == 7
    assert model.rpn_head.assigner.pos_iou_thr == 0.7
    assert names(model, DOConv2d) == convs(model, is_not_1x1)
    assert names(model, DOConv2d) >= {'backbone.conv1', 'neck.fpn_convs.0.conv'}
    assert {'rpn_head.rpn_conv', 'roi_head.shared_head.layer2.0.conv2'} <= names(model, DOConv2d)


def test_se_resnet_with_psconv():
    """Table 1; squeeze-and-excitation has 1x1 convolutions alone, which stay."""
    pytest.importorskip('mmpretrain')
    config = dict(
        type='mmpretrain.SEResNet', depth=50, base_channels=16, stem_channels=16, out_indices=(3,)
    )
    plain = randomise(MODELS.build(copy.deepcopy(config)))
    network, ones = build_swapped(config, PS), build_swapped(config, dict(PS, pattern=[1]))
    assert names(network, PSConv2d) == convs(plain, is_3x3)
    assert len(names(network, PSConv2d)) == 16
    for model in (network, ones):
        result = model.load_state_dict(plain.state_dict())
        assert not result.missing_keys + result.unexpected_keys
    assert_outputs_equal(ones, plain)
    assert not torch.allclose(outputs(network)[-1], outputs(plain)[-1], rtol=0.1)


def test_masked_psconv_through_the_builder():
    resnet = dict(type='mmdet.ResNet', depth=18, **THIN)
    network = build_swapped(resnet, dict(type='MaskedPSConv2d', rates=[1, 2], factor=4))
    assert names(network, MaskedPSConv2d) == convs(network, is_3x3)
    assert [o.shape[1] for o in outputs(network)] == [8, 16, 32, 64]


def test_swap_keeps_weights_device_and_flags():
    plain = randomise(mmdet.ResNet(18, frozen_stages=2, **THIN)).double()
    plain.eval()
    parameters = dict(plain.named_parameters())
    network = to_swapped(copy.deepcopy(plain), dict(PS, pattern=(1, 1)))
    assert not any(module.training for module in network.modules())
    for name, parameter in network.named_parameters():
        assert parameter.dtype == torch.float64
        assert parameter.requires_grad == parameters[name].requires_grad
        assert torch.equal(parameter, parameters[name])


def test_selection_by_name():
    network = to_swapped(mmdet.ResNet(18, **THIN), DO, [r'layer4\.1', 'conv1'])
    assert names(network, DOConv2d) == {'conv1', 'layer4.1.conv1', 'layer4.1.conv2'}


class Deformable(nn.Module):
    """As a deformable convolution of mmcv holds the one that computes its offsets."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3)
        self.conv_offset = nn.Conv2d(8, 18, 3)


@pytest.mark.parametrize('kind', [PS, DO])
def test_offset_convolutions_stay_unless_named(kind):
    assert names(to_swapped(Deformable(), kind), nn.Conv2d) == {'conv_offset'}
    named = to_swapped(Deformable(), kind, 'conv_offset')
    assert names(named, nn.Conv2d) == {'conv1'}


def network_of(conv):
    return nn.ModuleDict({'stage': nn.ModuleDict({'conv': conv})})


@pytest.mark.parametrize(
    ('conv', 'kind', 'message'),
    [
        (nn.Conv2d(8, 8, 3, groups=4), PS, 'a pattern of 4 dilations .*got 2'),
        (nn.Conv2d(12, 8, 3, groups=4), PS, 'a pattern of 4 dilations .*got 3'),
        (nn.Conv2d(8, 8, 3, dilation=2), PS, r'dilation=\(2, 2\)'),
        (nn.Conv2d(8, 8, 3, padding_mode='circular'), PS, "'circular'"),
        (nn.Conv2d(8, 8, 3), dict(PS, pattern=[]), 'at least one dilation'),
        (nn.Conv2d(8, 8, 3), dict(PS, pattern=[0]), 'got 0'),
        (nn.Conv2d(8, 8, 3), dict(PS, pattern=[1.5]), '1.5'),
        (nn.Conv2d(8, 8, 3), dict(PS, pattern=[True]), 'True'),
        (nn.Conv2d(8, 8, 3), dict(DO, d_mul=8), 'from 9 up.*got 8'),
        (nn.Conv2d(8, 6, 3), dict(type='MaskedPSConv2d'), 'factor must divide 6 output'),
    ],
)
def test_impossible_layers_are_refused_by_name(conv, kind, message):
    with pytest.raises(ValueError, match=f"'stage.conv': .*{message}"):
        to_swapped(network_of(conv), kind)


def test_even_kernel_is_refused_by_name_when_it_is_chosen():
    network = network_of(nn.Conv2d(8, 8, 4))
    with pytest.raises(ValueError, match=r"'stage.conv': .*odd size.*\(4, 4\)"):
        to_swapped(network, PS, 'stage')


@pytest.mark.parametrize('kind', [PS, DO])
def test_choice_of_no_layer_is_refused(kind):
    with pytest.raises(ValueError, match='matches no convolution'):
        to_swapped(network_of(nn.Conv2d(8, 8, 1)), kind)
    with pytest.raises(ValueError, match='matches no convolution'):
        to_swapped(network_of(nn.Conv2d(8, 8, 3)), kind, 'backbone')


def test_unknown_type_is_refused():
    with pytest.raises(ValueError, match="'DOConv2d', .*'PSConv2d'.*got 'Conv2d'"):
        to_swapped(network_of(nn.Conv2d(8, 8, 3)), {'type': 'Conv2d'})


def test_d_mul_of_another_checkpoint_is_refused_by_mmengine_too(tmp_path):
    from mmengine.runner import load_checkpoint

    trained = mmdet.ResNet(18, conv_cfg=dict(DO, d_mul=49), **THIN)
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'trained.pth')
    with pytest.raises(ValueError, match=r"'layer1\.0\.conv1': D is \(9, 49, 8\).*\(9, 9, 8\)"):
        load_checkpoint(mmdet.ResNet(18, conv_cfg=DO, **THIN), str(tmp_path / 'trained.pth'))


# Types as classes, as in new-style configs


def test_swaps_take_classes_and_names():
    class Own(PSConv2d):
        pass

    for kind in (PSConv2d, 'PSConv2d', 'mmic.PSConv2d', 'mmic.layers.ps_conv.PSConv2d', Own):
        network = to_swapped(network_of(nn.Conv2d(8, 8, 3)), dict(type=kind, pattern=(1, 2)))
        assert type(network.stage.conv) is (Own if kind is Own else PSConv2d), kind
    network = build_swapped(EXTRA, dict(type=DOConv2d))
    assert any(isinstance(module, DOConv2d) for module in network.modules())


@pytest.mark.parametrize('kind', [nn.Conv2d, 'Conv2d', 3, ICConv2d])
def test_swap_of_another_type_names_it(kind):
    told = getattr(kind, '__name__', kind)
    with pytest.raises(ValueError, match=rf"one of \['DOConv2d', .*got {told!r}"):
        to_swapped(network_of(nn.Conv2d(8, 8, 3)), dict(type=kind))
    with pytest.raises(ValueError, match='has no type'):
        to_swapped(network_of(nn.Conv2d(8, 8, 3)), {})


@pytest.mark.parametrize('kind', [DOConv2d, 'DOConv2d', 'mmic.DOConv2d'])
def test_do_conv_of_a_1x1_kernel_is_a_plain_convolution(kind):
    for size in (1, (1, 1), [1, 1]):
        conv = build_conv_layer(dict(type=kind, d_mul=12), 8, 16, size, stride=2, bias=False)
        assert type(conv) is nn.Conv2d
        assert (conv.out_channels, conv.stride, conv.bias) == (16, (2, 2), None)
    conv = build_conv_layer(dict(type=kind), 8, 16, kernel_size=3, padding=1)
    assert type(conv) is DOConv2d
    for twin in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert type(twin) is DOConv2d
        assert torch.equal(twin.weight, conv.weight)


def test_registered_do_conv_is_the_class():
    assert MODELS.get('DOConv2d') is MODELS.get('mmic.DOConv2d') is DOConv2d


def test_network_of_do_conv_given_as_a_class():
    network = MODELS.build(dict(type=mmdet.ResNet, depth=50, conv_cfg=dict(type=DOConv2d)))
    found = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    kinds = {conv.kernel_size: type(conv) for conv in found}
    assert kinds[1, 1] is nn.Conv2d
    assert kinds[3, 3] is kinds[7, 7] is DOConv2d


def test_models_are_built_from_classes():
    from mmdet.models.necks import FPN

    from mmic.models import ICResNet, build_supernet

    tiny = dict(type=ICResNet, depth=18, base_channels=8, d_max=2)
    assert type(MODELS.build(tiny)) is ICResNet
    neck = dict(type=FPN, in_channels=[8, 16], out_channels=8, num_outs=2)
    network = MODELS.build(dict(type=build_supernet, model=neck, d_max=2))
    assert type(network) is FPN
    network = MODELS.build(dict(type=build_swapped, model=neck, conv=dict(type=PSConv2d)))
    assert any(isinstance(module, PSConv2d) for module in network.modules())
