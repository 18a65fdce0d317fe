"""Counts against numbers worked out by hand, other counters, and the printed ones of CR-NAS."""

import copy
import functools
import re
from pathlib import Path

import pytest
import torch
from helpers import call_tool, write_detector_config
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.analysis.complexity import count_complexity
from mmic.analysis.cost import darts_share
from mmic.analysis.plain import plain_config
from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.registry import MODELS as MMIC_MODELS
from mmic.supernet import ChoiceConv2d, MixedConv2d, WideConv2d

mmdet = pytest.importorskip('mmdet.models.backbones', reason='mmdet is not installed')

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PLAIN = CONFIGS / 'ic_conv' / 'faster-rcnn_r50_fpn_13e_coco.py'


def build(cfg):
    init_default_scope('mmdet')
    return MODELS.build(cfg)


@functools.lru_cache(maxsize=None)
def read(path):
    return Config.fromfile(path).model


def model_config(path=PLAIN):
    return copy.deepcopy(read(path))


class Tiny(nn.Module):
    """On 9 x 6: a strided and a grouped convolution, one called twice, a transposed, a linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, (3, 5), stride=2, padding=(1, 2))
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4))
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
        self.head = nn.Linear(6, 7)

    def forward(self, x):
        x = self.body(self.body(self.stem(x)))
        return self.head(self.up(x).mean((2, 3)))


def test_tiny_network_by_hand():
    found = count_complexity(Tiny(), (9, 6))
    # The stem gives 5 x 3 positions. Per output: 3 * 3 * 5 weights; per output: 2 * 3 * 3, twice;
    # per input: 6 / 2 * 2 * 2.
    assert found.macs == {
        'stem': 5 * 3 * 4 * 45,
        'body': 2 * 5 * 3 * 4 * 18,
        'up': 5 * 3 * 4 * 12,
        'head': 6 * 7,
    }
    assert found.total_macs == 2700 + 2160 + 720 + 42
    assert found.parameters == {'stem': 184, 'body': 72 + 4 + 8, 'up': 48 + 6, 'head': 49}
    assert found.not_run == []


def test_network_is_left_as_it_is():
    network = Tiny()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_complexity(network, (9, 6))
    assert network.training
    assert not network.stem._forward_hooks
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_layers_that_do_not_run_are_named():
    class Unfinished(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.kept = nn.Conv2d(3, 4, 1), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    found = count_complexity(Unfinished(), (2, 2))
    assert found.not_run == ['kept']
    assert found.total_macs == 4 * 12


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize(
    ('layer', 'options', 'times'),
    [
        (ICConv2d, {'dilations': [(1 + i % 3, 2) for i in range(8)]}, 1),
        (PSConv2d, {}, 1),
        (PSConv2d, {'form': 'sum'}, 1),
        (MaskedPSConv2d, {}, 1),
        (DOConv2d, {}, 1),
        (DOConv2d, {'d_mul': 12}, 1),
        (ChoiceConv2d, {'dilations': [1, 2, 3]}, 1),
        (MixedConv2d, {'genotypes': [1, 2, (1, 3)], 'num_groups': 2}, 3),
    ],
)
def test_layer_counts_as_the_plain_convolution(layer, options, times, groups):
    conv = layer(16, 8, 3, stride=2, padding=1, groups=groups, **options)
    found = count_complexity(nn.Sequential(nn.Conv2d(3, 16, 1), conv), (9, 7))
    # 5 x 4 positions, 8 channels.
    assert found.macs['1'] == times * 20 * 8 * (16 // groups) * 9


def test_wide_convolution_counts_its_whole_kernel():
    conv = WideConv2d(3, 8, 3, stride=2, padding=1, d_max=4)
    assert count_complexity(nn.Sequential(conv), (9, 7)).macs['0'] == 20 * 8 * 3 * 81


@pytest.mark.parametrize('network', [mmdet.ResNet(50), mmdet.MobileNetV2()])
def test_backbone_equals_mmengines_count(network):
    network.eval()
    theirs = FlopAnalyzer(network, torch.zeros(1, 3, 64, 96)).by_operator()
    found = count_complexity(network, (64, 96))
    assert found.total_macs == theirs['conv']
    assert found.total_parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ('printed', 'channels', 'backbone'),
    [
        (121.1, [24, 32, 96, 320], dict(type='MobileNetV2', out_indices=(1, 2, 4, 6))),
        (
            147.7,
            [64, 128, 256, 512],
            dict(type='ResNet', depth=18, norm_cfg=dict(type='SyncBN', requires_grad=True)),
        ),
        (192.5, [256, 512, 1024, 2048], dict(type='ResNet', depth=50)),
        (257.3, [256, 512, 1024, 2048], dict(type='ResNet', depth=101)),
    ],
)
def test_plain_detectors_meet_cr_nas(printed, channels, backbone):
    """CR-NAS, Table 1, whole detector at 800 x 1088 in GFLOPs, without RoIAlign."""
    cfg = model_config()
    cfg.backbone, cfg.neck.in_channels = backbone, channels
    found = count_complexity(build(cfg), (800, 1088), proposals=2000)
    assert found.total_macs / 1e9 == pytest.approx(printed, rel=0.01)
    assert found.not_run == []


def box_head(outputs):
    """MACs per RoI of two fully connected layers and the outputs behind them."""
    return 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * outputs


def test_parts_of_faster_rcnn_by_hand():
    found = count_complexity(build(model_config()), (800, 1088), proposals=300)
    sides = [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)]
    cells = [h * w for h, w in sides]
    widths = (256, 512, 1024, 2048)
    assert found.macs['neck'] == sum(
        n * (width * 256 + 256 * 256 * 9) for n, width in zip(cells, widths)
    )
    # Three anchors: an objectness and four offsets each.
    assert found.macs['rpn_head'] == sum(cells) * (256 * 256 * 9 + 256 * 15)
    assert found.macs['roi_head.bbox_head'] == 300 * box_head(81 + 4 * 80)
    assert set(found.macs) == {'backbone', 'neck', 'rpn_head', 'roi_head.bbox_head'}


def test_cascade_and_masks_by_hand():
    cfg = model_config(CONFIGS / 'psconv' / 'cascade-rcnn_r50_fpn_1x_coco.py')
    cfg.backbone.depth, cfg.neck.in_channels = 18, [64, 128, 256, 512]
    mask = model_config(CONFIGS / 'ic_conv' / 'mask-rcnn_r50_fpn_13e_coco.py').roi_head
    cfg.roi_head.update(mask_head=mask.mask_head, mask_roi_extractor=mask.mask_roi_extractor)
    cfg.roi_head.mask_head = [mask.mask_head] * 3
    found = count_complexity(build(cfg), (64, 64), proposals=50, detections=7)
    assert found.macs['roi_head.bbox_head'] == 3 * 50 * box_head(81 + 4)
    convs, up = 4 * 14 * 14 * 256 * 256 * 9, 14 * 14 * 256 * 256 * 4
    assert found.macs['roi_head.mask_head'] == 3 * 7 * (convs + up + 28 * 28 * 256 * 80)
    nothing = count_complexity(build(cfg), (64, 64), proposals=0, detections=0)
    assert nothing.total_macs == sum(found.macs[part] for part in ('backbone', 'neck', 'rpn_head'))


def test_head_shared_by_rois_runs_on_each():
    cfg = Config.fromstring("_base_ = 'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py'", '.py')
    detector = build(cfg.model)
    shared = detector.roi_head.shared_head
    detector.eval()
    once = FlopAnalyzer(shared, torch.zeros(1, 1024, 14, 14)).by_operator()['conv']
    found = count_complexity(detector, (64, 64), proposals=5)
    assert found.macs['roi_head.shared_head'] == 5 * once


@pytest.mark.parametrize(
    ('model', 'shape', 'expected'),
    [
        # He et al. 2016 print 3.8 for a stride on the 1x1; PSConv's Table 2 prints 4.089.
        (
            dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type='PSResNet', depth=50, out_indices=(3,)),
                neck=dict(type='mmpretrain.GlobalAveragePooling'),
                head=dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=2048),
            ),
            (224, 224),
            4.089,
        ),
        (
            dict(
                type='mmpose.TopdownPoseEstimator',
                backbone=dict(type='mmpose.ResNet', depth=18),
                head=dict(
                    type='mmpose.HeatmapHead',
                    in_channels=512,
                    out_channels=17,
                    deconv_out_channels=None,
                    loss=dict(type='mmpose.KeypointMSELoss'),
                ),
            ),
            (64, 64),
            None,
        ),
    ],
)
def test_other_packages_models(model, shape, expected):
    package = model['type'].partition('.')[0]
    pytest.importorskip(package, reason=f'{package} is not installed')
    init_default_scope(package)
    found = count_complexity(MODELS.build(model), shape)
    assert found.not_run == []
    if expected:
        assert round(found.total_macs / 1e9, 3) == expected
    else:
        # A 1x1 convolution on the last feature map.
        assert found.macs['head'] == 2 * 2 * 512 * 17


@pytest.mark.parametrize(
    ('shape', 'options', 'message'),
    [
        ((0, 8), {}, r'height and width .*\(0, 8\)'),
        ((8,), {}, r'height and width .*\(8,\)'),
        ((8, 7.5), {}, r'7\.5'),
        ((8, 8), {'proposals': -1}, 'proposals must be .* -1'),
        ((8, 8), {'detections': 1.5}, r'detections must be .* 1\.5'),
    ],
)
def test_impossible_numbers_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        count_complexity(Tiny(), shape, **options)


def test_network_that_needs_values_is_refused_by_layer():
    class Looks(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    network = nn.Sequential(nn.Conv2d(3, 3, 1), Looks())
    with pytest.raises(ValueError, match=r"Sequential .* 4 x 5 .* layer .* '1'"):
        count_complexity(network, (4, 5))
    with pytest.raises(ValueError, match=r"'0'.*RuntimeError"):
        count_complexity(nn.Sequential(nn.Conv2d(3, 3, 9)), (4, 5))


PAIRS = [
    (
        'do_conv/faster-rcnn_do-r50_do-fpn-rpn_26e_coco.py',
        'do_conv/faster-rcnn_r50_fpn_26e_coco.py',
    ),
    ('psconv/faster-rcnn_ps-r50_ps-fpn_1x_coco.py', 'psconv/faster-rcnn_r50_fpn_1x_coco.py'),
    (
        'ic_conv/mask-rcnn_ic-r50-k9-supernet_fpn_13e_coco.py',
        'ic_conv/mask-rcnn_r50_fpn_13e_coco.py',
    ),
    # Networks of mmic's own, plain ones: ResNet-v2, Plain, MobileNetV1, CIFAR's, R-FCN.
    ('do_conv/imagenet/do-r50-v2_120e_in1k.py', 'do_conv/imagenet/r50-v2_120e_in1k.py'),
    ('do_conv/imagenet/do-plain18_120e_in1k.py', 'do_conv/imagenet/plain18_120e_in1k.py'),
    ('do_conv/imagenet/do-mobilenetv1_120e_in1k.py', 'do_conv/imagenet/mobilenetv1_120e_in1k.py'),
    ('do_conv/cifar/do-r20-v2_164e_cifar10.py', 'do_conv/cifar/r20-v2_164e_cifar10.py'),
    ('ic_conv/rfcn_r50_18e_voc0712.py', 'ic_conv/rfcn_r50_18e_voc0712.py'),
]


@pytest.mark.parametrize(('changed', 'plain'), PAIRS)
def test_plain_config_is_the_one_that_was_changed(changed, plain):
    """The shipped configs of the plain networks were written without ``plain_config``."""
    cfg, expected = model_config(CONFIGS / changed), model_config(CONFIGS / plain)
    before = cfg.to_dict()
    found = plain_config(cfg)
    for model in (found, expected):
        model.backbone.type = model.backbone.type.rpartition('.')[2]
        model.backbone.pop('_scope_', None)
    assert found.to_dict() == expected.to_dict()
    assert cfg.to_dict() == before
    assert plain_config(expected) == expected


@pytest.mark.parametrize(
    ('cfg', 'expected'),
    [
        (
            dict(type='mmic.ICMobileNetV2', d_max=4, search_stem=False, widen_factor=0.5),
            dict(type='mmdet.MobileNetV2', widen_factor=0.5),
        ),
        (
            dict(type='PSResNet', depth=50, pattern=(1, 2), axes='input', strides=(1, 2, 2, 1)),
            dict(type='mmdet.ResNet', depth=50, strides=(1, 2, 2, 1)),
        ),
        (
            dict(
                type='build_supernet',
                model=dict(type='ICResNet', depth=18, d_max=2),
                d_max=2,
                style='caffe',
            ),
            dict(type='mmdet.ResNet', depth=18, style='caffe'),
        ),
        (
            dict(type='NATSResNet', depth=50, genotypes='C', num_groups=16, strides=(1, 2, 2, 1)),
            dict(type='mmdet.ResNet', depth=50, strides=(1, 2, 2, 1)),
        ),
        (
            dict(heads=[dict(type='FCOSHead', conv_cfg=dict(type='mmic.PSConv2d', axes='input'))]),
            dict(heads=[dict(type='FCOSHead')]),
        ),
        (
            dict(type='other.ICResNet', d_max=4, conv_cfg=dict(type='Conv2d')),
            dict(type='other.ICResNet', d_max=4, conv_cfg=dict(type='Conv2d')),
        ),
    ],
)
def test_plain_config_of_parts(cfg, expected):
    assert plain_config(cfg) == expected


def test_plain_config_asks_the_backbone_for_what_its_name_told(monkeypatch):
    class NamedResNet(mmdet.ResNet):
        """Has a depth and a width by its name, and an argument of the host's name of its own."""

        __module__ = 'mmic.models.backbones'

        def __init__(self, *args, name, strides=None, **kwargs):
            super().__init__(int(name[1:]), *args, base_channels=16, **kwargs)

    for registry in (MODELS, MMIC_MODELS):
        monkeypatch.setitem(registry.module_dict, 'NamedResNet', NamedResNet)
    cfg = dict(type='NamedResNet', name='r34', strides='half', style='caffe')
    expected = dict(type='mmdet.ResNet', depth=34, base_channels=16, style='caffe')
    assert plain_config(cfg) == expected


@pytest.fixture
def supernet_config(tmp_path):
    return write_detector_config(tmp_path / 'wide.py', tmp_path, type='ICResNet', d_max=2)


def table_of(text):
    """Rows of a printed table by their first cell."""
    return {row.split()[0]: row.split()[1:] for row in text.splitlines() if row.split()}


def test_tool_shows_the_parts_and_the_plain_network(supernet_config):
    done = call_tool('complexity.py', supernet_config, '--shape', 512, 512, '--proposals', 1000)
    assert done.code == 0, done.text
    rows = table_of(done.text)
    # 5x5 kernels for 3x3 have 16 weights more a pair of channels; the first convolution of all
    # stages but the first has half as many inputs. Cells are at strides 4 to 32.
    pairs = {128: 4 * 8 * 8, 64: 3.5 * 16 * 16, 32: 3.5 * 32 * 32, 16: 3.5 * 64 * 64}
    more = 16 * sum(pairs.values()) / 1e6
    wide, plain = (float(rows['backbone'][column]) for column in (0, 2))
    assert wide - plain == pytest.approx(more, abs=0.0011)
    cost = 16 * sum(count * side * side for side, count in pairs.items()) / 1e9
    assert float(rows['backbone'][4]) == pytest.approx(cost, abs=0.0006)
    assert rows['total'][4] == rows['backbone'][4]
    assert rows['neck'][:2] == rows['neck'][2:4]
    assert rows['neck'][4] == '0'
    box = 1000 * (16 * 49 * 16 + 16 * 16 + 16 * (4 + 12))
    assert rows['roi_head.bbox_head'][1] == f'{box / 1e9:.3f}'
    assert 'Warning' not in done.text
    # One 5x5 kernel in place of four 3x3 ones: 25 / 36.
    assert 'the searched layers cost 69% of a DARTS-like search' in done.text


def test_supernet_of_the_paper_costs_56_percent_of_a_darts_like_search():
    """Section 3.3: 9x9 against 16 candidates of 3x3, whatever the channels and groups are."""
    network = nn.Sequential(
        WideConv2d(4, 8, 3, d_max=4), nn.Conv2d(8, 8, 3), WideConv2d(8, 8, 3, groups=4, d_max=4)
    )
    assert darts_share(network) == 81 / 144
    # 9x9 for 5x5 and d_max 2: against 4 candidates of 25 taps.
    network.append(WideConv2d(4, 8, 5, d_max=2))
    expected = (32 * 81 + 16 * 81 + 32 * 81) / (32 * 144 + 16 * 144 + 32 * 100)
    assert darts_share(network) == pytest.approx(expected)
    assert darts_share(nn.Conv2d(4, 8, 3)) is None


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(('groups', 'd_mul'), [(1, 9), (1, 12), (2, 12), (4, 9)])
def test_do_conv_costs_what_its_two_compositions_cost(stride, groups, d_mul):
    """Feature composition is a depthwise and a 1x1 convolution, counted as such."""
    layer = DOConv2d(4, 8, 3, stride, 1, groups=groups, d_mul=d_mul)
    features = nn.Sequential(
        nn.Conv2d(4, 4 * d_mul, 3, stride, 1, groups=4), nn.Conv2d(4 * d_mul, 8, 1, groups=groups)
    )
    stem, last = nn.Conv2d(3, 4, 1), nn.Conv2d(8, 5, 1)
    found = count_complexity(nn.Sequential(stem, layer, last), (9, 7))
    separate = count_complexity(nn.Sequential(stem, features, last), (9, 7)).total_macs
    # Of each kernel of W', 9 taps are sums of d_mul products.
    kernels = sum(9 * d_mul for _ in range(8) for _ in range(4 // groups))
    assert found.compositions == dict(feature=separate, kernel=found.total_macs + kernels)
    plain = nn.Sequential(stem, nn.Conv2d(4, 8, 3, stride, 1, groups=groups), last)
    assert found.total_macs == count_complexity(plain, (9, 7)).total_macs
    assert count_complexity(plain, (9, 7)).compositions == {}


def test_kernels_are_composed_once_for_all_images_and_at_every_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = DOConv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(torch.cat([x, x, x])))

    found = count_complexity(Twice(), (5, 4))
    assert found.total_macs == 2 * 3 * 81 * 20
    assert found.compositions == dict(
        feature=2 * 3 * (81 * 3 * 20 + 81 * 20), kernel=2 * (81 * 9 + 3 * 81 * 20)
    )


def test_tool_prints_both_compositions_of_do_conv(tmp_path):
    path = write_detector_config(
        tmp_path / 'do.py', tmp_path, type='mmdet.ResNet', conv_cfg=dict(type='DOConv2d')
    )
    done = call_tool('complexity.py', path, '--shape', 64, 64)
    assert done.code == 0, done.text
    found = count_complexity(MODELS.build(model_config(path)), (64, 64)).compositions
    feature, kernel = (f'{found[kind] / 1e9:.3f} G' for kind in ('feature', 'kernel'))
    assert len({feature, kernel, f'{table_of(done.text)["total"][1]} G'}) == 3
    text = ' '.join(done.text.split())
    assert f'makes it {feature} MACs an image by feature composition, {kernel} by' in text


def test_tool_takes_several_configs_and_options(tmp_path, supernet_config):
    poly_scale = write_detector_config(tmp_path / 'poly.py', tmp_path, type='PSResNet')
    arguments = ['--shape', 256, 256, '--cfg-options', 'model.backbone.base_channels=16']
    arguments += ['model.neck.in_channels=[16,32,64,128]']
    done = call_tool('complexity.py', supernet_config, poly_scale, *arguments)
    assert done.code == 0, done.text
    rows = table_of(done.text)
    assert rows['poly'][:2] == rows['poly'][2:4] == rows['wide'][2:4]
    assert rows['poly'][4] == '0'
    one = call_tool('complexity.py', poly_scale, *arguments)
    assert table_of(one.text)['total'] == rows['poly']
    assert float(rows['wide'][4]) > 0


def test_tool_names_layers_that_it_does_not_count(tmp_path):
    """An extractor with layers of its own, which is replaced since RoIAlign needs values."""
    config = tmp_path / 'groie.py'
    config.write_text("_base_ = 'mmdet::groie/faste-rcnn_r50_fpn_groie_1x_coco.py'\n")
    done = call_tool('complexity.py', config, '--shape', 64, 64)
    assert done.code == 0, done.text
    assert 'Warning' in done.text
    assert re.search(r'roi_head\.bbox_roi_extractor\.post_module\.\w+', done.text)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.py', '--shape', 8, 8], 'complexity: There is no config file nowhere.py'),
        ([PLAIN, 'nowhere.py', '--shape', 64, 64], 'no config file nowhere.py'),
        ([PLAIN, '--shape', 0, 8], 'complexity: shape is the height and width'),
        ([PLAIN, '--shape', 8, 8, '--proposals', -2], 'proposals must be a whole number'),
        ([PLAIN, '--shape', 8, 8, '--detections', -2], 'detections must be a whole number'),
        ([PLAIN, '--shape', 8], 'expected 2 arguments'),
        ([PLAIN], 'required: --shape'),
    ],
)
def test_tool_refuses_bad_input(arguments, message):
    done = call_tool('complexity.py', *arguments)
    assert done.code in (1, 2)
    assert message in done.text
    assert 'Traceback' not in done.text
