"""The backbones inside models of mmdet, mmpretrain and mmpose, and where a host is missing."""

import json

import pytest
import torch
from helpers import run_python
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmengine.utils import get_installed_path

from mmic.layers import ICConv2d
from mmic.pattern import DilationPattern, LayerPattern
from mmic.supernet import WideConv2d

RESNET = dict(type='ICResNet', depth=18, base_channels=8)
# ResNeXt's 3x3 convolutions have 4 groups, MobileNetV2's one a channel.
RESNEXT = dict(type='ICResNeXt', depth=50, base_channels=8, groups=4, base_width=4)
MOBILENET = dict(type='ICMobileNetV2', widen_factor=0.25)
BACKBONES = {'resnet': RESNET, 'resnext': RESNEXT, 'mobilenet': MOBILENET}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(params=['supernet', 'searched'])
def stage(request):
    return request.param


def searched_layers(model):
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (WideConv2d, ICConv2d))
    }


@pytest.fixture
def backbone(stage, tmp_path):
    """A function that completes a backbone's config with ``d_max`` or a random pattern file."""

    def complete(kind, **arguments):
        cfg = dict(BACKBONES[kind], init_cfg=None, norm_eval=False, **arguments)
        if stage == 'supernet':
            return dict(cfg, d_max=2)
        init_default_scope('mmdet')
        layers = {
            name: LayerPattern(
                torch.randint(1, 4, (conv.out_channels, 2)), (3, 3), conv.in_channels, conv.groups
            )
            for name, conv in searched_layers(MODELS.build(dict(cfg, d_max=2))).items()
        }
        path = tmp_path / 'pattern.json'
        DilationPattern(layers, 'edo', 'backbone').save(path)
        return dict(cfg, pattern=str(path))

    return complete


def assert_trains(model, losses, stage, layers):
    """Every parameter of the backbone gets a finite gradient, every searched one not only 0."""
    searched = searched_layers(model)
    assert len(searched) == layers
    assert {type(layer) for layer in searched.values()} == {
        WideConv2d if stage == 'supernet' else ICConv2d
    }
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for name, layer in searched.items():
        taps = layer.weight.grad.abs().sum((0, 1)) > 0
        # In the last stage the outer taps lie outside of images this small.
        assert taps.all() if 'layer1' in name else taps.any(), name


def build(cfg, scope):
    init_default_scope(scope)
    # Not init_weights(): it sets each block's last BN to 0, and with it the block's gradients.
    return MODELS.build(cfg).train()


def detector(backbone, channels):
    """A Faster R-CNN of mmdet."""
    base = '.mim/configs/_base_/models/faster-rcnn_r50_fpn.py'
    cfg = Config.fromfile(f'{get_installed_path("mmdet")}/{base}')
    cfg.model.backbone = backbone
    cfg.model.neck.update(in_channels=channels, out_channels=16)
    cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
    cfg.model.roi_head.bbox_roi_extractor.out_channels = 16
    cfg.model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16, num_classes=3)
    return cfg.model


def detection_losses(model):
    from mmdet.structures import DetDataSample

    samples = []
    for _ in range(2):
        boxes = torch.tensor([[8.0, 8.0, 72.0, 80.0], [100.0, 60.0, 124.0, 90.0]])
        sample = DetDataSample(metainfo=dict(img_shape=(128, 128), ori_shape=(128, 128)))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]))
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=list(images), data_samples=samples), True)
    return model(**data, mode='loss')


@pytest.mark.parametrize(
    ('kind', 'arguments', 'channels', 'layers'),
    [
        ('resnet', {}, [8, 16, 32, 64], 16),
        ('resnext', {}, [32, 64, 128, 256], 16),
        ('mobilenet', {'out_indices': (1, 2, 4, 7)}, [8, 8, 24, 1280], 18),
    ],
)
def test_faster_rcnn_of_mmdet_trains(backbone, stage, kind, arguments, channels, layers):
    model = build(detector(backbone(kind, **arguments), channels), 'mmdet')
    losses = detection_losses(model)
    assert {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'} <= losses.keys()
    assert_trains(model, losses, stage, layers)


@pytest.mark.parametrize(
    ('kind', 'arguments', 'channels', 'layers'),
    [
        ('resnet', {'out_indices': (3,)}, 64, 16),
        ('mobilenet', {'out_indices': (7,)}, 1280, 18),
    ],
)
def test_classifier_of_mmpretrain_trains(backbone, stage, kind, arguments, channels, layers):
    from mmpretrain.structures import DataSample

    cfg = dict(
        type='ImageClassifier',
        data_preprocessor=dict(mean=[127.0] * 3, std=[64.0] * 3),
        backbone=backbone(kind, **arguments),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=channels),
    )
    model = build(cfg, 'mmpretrain')
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(label) for label in (0, 3, 4, 1)]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    losses = model(**data, mode='loss')
    assert losses.keys() == {'loss'}
    assert_trains(model, losses, stage, layers)


@pytest.mark.parametrize(('kind', 'channels', 'layers'), [('resnet', 64, 16), ('resnext', 256, 16)])
def test_pose_estimator_of_mmpose_trains(backbone, stage, kind, channels, layers):
    from mmpose.structures import PoseDataSample

    cfg = dict(
        type='TopdownPoseEstimator',
        data_preprocessor=dict(type='PoseDataPreprocessor', mean=[127.0] * 3, std=[64.0] * 3),
        backbone=backbone(kind, out_indices=(3,)),
        head=dict(
            type='HeatmapHead',
            in_channels=channels,
            out_channels=4,
            deconv_out_channels=(8, 8, 8),
            deconv_kernel_sizes=(4, 4, 4),
            loss=dict(type='KeypointMSELoss', use_target_weight=True),
            decoder=dict(type='MSRAHeatmap', input_size=(64, 96), heatmap_size=(16, 24), sigma=2),
        ),
    )
    model = build(cfg, 'mmpose')
    samples = []
    for _ in range(2):
        sample = PoseDataSample(metainfo=dict(img_shape=(96, 64)))
        sample.gt_fields = PixelData(heatmaps=torch.rand(4, 24, 16))
        sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 4))
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, 96, 64), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=list(images), data_samples=samples), True)
    losses = model(**data, mode='loss')
    assert 'loss_kpt' in losses
    assert_trains(model, losses, stage, layers)


# How a config names the backbones

NAMED = """
import json, sys
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
cfg = Config.fromfile({path!r})
before = 'mmic' in sys.modules
found = []
for scope in ('mmdet', 'mmpretrain', 'mmpose'):
    init_default_scope(scope)
    found.append(type(MODELS.build(cfg.backbone)).__name__)
print('FOUND', json.dumps([before, found]))
"""


@pytest.mark.parametrize(
    ('text', 'imported'),
    [
        ("custom_imports = dict(imports=['mmic'])\nbackbone = dict(type='ICResNet', @)\n", True),
        ("backbone = dict(type='mmic.ICResNet', @)\n", False),
    ],
)
def test_config_names_the_backbone_with_and_without_import(tmp_path, text, imported):
    """A fresh interpreter, in which nothing has imported mmic."""
    path = tmp_path / 'config.py'
    path.write_text(text.replace('@', 'depth=18, base_channels=4, d_max=2'))
    printed = run_python(NAMED.format(path=str(path)), cwd=tmp_path)
    found = json.loads(printed.rpartition('FOUND')[2])
    assert found == [imported, ['ICResNet'] * 3]


# Missing hosts

BLOCKED = """
import importlib.abc, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {packages!r}:
            raise {error}

sys.meta_path.insert(0, Blocker())
"""
HOSTS = ('mmcv', 'mmdet', 'mmpose', 'mmpretrain', 'mmseg')


def without(packages, code, error="ModuleNotFoundError(f'No module named {name!r}')"):
    return run_python(BLOCKED.format(packages=packages, error=error) + code)


def test_layers_supernet_and_search_work_with_torch_and_mmengine_alone():
    printed = without(
        HOSTS,
        """
import mmic.layers, mmic.supernet, mmic.search, mmic
import torch
from mmic.search.edo import search_dilations
wide = mmic.supernet.WideConv2d(4, 8, 3, padding=1, d_max=3)
dilations, _ = search_dilations(wide.weight)
conv = mmic.layers.ICConv2d(4, 8, 3, padding=1, dilations=dilations)
x = torch.randn(1, 4, 12, 12)
assert conv(x).shape == wide(x).shape == (1, 8, 12, 12)
print('IMPORTED', json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
""",
    )
    imported = json.loads(printed.rpartition('IMPORTED')[2])
    assert 'mmic' in imported
    assert not set(HOSTS) & set(imported)


MISSING = """
import torch
import mmic
from mmengine.registry import MODELS
for name in ('ICResNet', 'mmic.ICResNeXt', 'ICMobileNetV2'):
    try:
        MODELS.build(dict(type=name, depth=18, d_max=2))
    except ImportError as error:
        print('REFUSED', error)
"""


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        ("ModuleNotFoundError(f'No module named {name!r}')", "No module named 'mmdet'"),
        # What mmdet does when mmcv's version is another than it asks for.
        ("AssertionError('MMCV==1.7 is used but incompatible')", 'MMCV==1.7 is used'),
    ],
)
def test_backbones_say_which_package_is_missing(error, reason):
    printed = without(('mmdet',), MISSING, error)
    lines = [line for line in printed.splitlines() if line.startswith('REFUSED')]
    for line, name in zip(lines, ('ICResNet', 'ICResNeXt', 'ICMobileNetV2')):
        assert f'{name} is built on mmdet, which cannot be imported here' in line
        assert reason in line
        assert 'pip install onedl-mmdetection' in line
        assert 'mim install mmdet' in line
    assert len(lines) == 3
