"""Settings of MMDetection 1.x: they are those of MMDetection's own old configs, on any network."""

import copy
import functools
import inspect
from unittest import mock

import mmengine
import pytest
import torch
from helpers import ROOT, call_tool, write_detector_config
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path

from mmic.engine.v1_compatible import v1_compatible

pytest.importorskip('mmdet')

from mmdet.models.losses import SmoothL1Loss
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules.coders import LegacyDeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import LegacyAnchorGenerator

CONFIGS = ROOT / 'configs'
# MMDetection's own: today's config, and the one of 1.x, which Config cannot inherit.
MMDET = {
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco': 'faster-rcnn_r50_fpn_1x_coco_v1',
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco': 'mask-rcnn_r50_fpn_1x_coco_v1',
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco': 'cascade-mask-rcnn_r50_fpn_1x_coco_v1',
    'retinanet/retinanet_r50_fpn_1x_coco': 'retinanet_r50_fpn_1x_coco_v1',
}
DETECTORS = [
    'psconv/faster-rcnn_ps-r101_fpn_1x_coco.py',
    'psconv/mask-rcnn_ps-x101-32x4d_fpn_1x_coco.py',
    'psconv/cascade-rcnn_ps-r50_fpn_1x_coco.py',
    'psconv/cascade-mask-rcnn_r101_fpn_1x_coco.py',
    'ic_conv/retinanet_r50_fpn_13e_coco.py',
    'ic_conv/faster-rcnn_r50_c4_13e_coco.py',
    'ic_conv/faster-rcnn_r50_nasfpn_13e_coco.py',
    # Their RPNs are changed by a function that builds them.
    'ic_conv/faster-rcnn_ic-r50-k9-supernet_ic-fpn-rpn_13e_coco.py',
    'do_conv/faster-rcnn_do-r50_do-fpn-rpn_26e_coco.py',
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


def load_mmdet(name):
    folder = get_installed_path('mmdet')
    return Config.fromfile(f'{folder}/.mim/configs/{name}.py')


# Config.fromfile reads a host's whole index of models for each of its files that it inherits.
read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)


def load(name):
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(CONFIGS / name)


def with_defaults(model):
    """Write the losses of box heads out: mmdet's config of a cascade in 1.x leaves them away."""
    model = copy.deepcopy(model)
    heads = model.get('roi_head', {}).get('bbox_head', [])
    for head in heads if isinstance(heads, list) else [heads]:
        for key in ('loss_cls', 'loss_bbox'):
            head.setdefault(key, inspect.signature(BBoxHead).parameters[key].default)
    return model


@pytest.mark.parametrize('name', MMDET)
def test_model_is_that_of_mmdets_config_of_1x(name):
    today, old = load_mmdet(name), load_mmdet(f'legacy_1.x/{MMDET[name]}')
    before = copy.deepcopy(today)
    ours = v1_compatible(today)
    expected = with_defaults(old.model.to_dict())
    assert with_defaults(ours.model.to_dict()) == expected
    assert with_defaults(today.model.to_dict()) != expected
    # The config that it was given is as it was, and the copy differs in the model alone.
    assert today.to_dict() == before.to_dict()
    assert {**ours.to_dict(), 'model': None} == {**before.to_dict(), 'model': None}
    assert ours.filename == today.filename


@pytest.mark.parametrize('name', DETECTORS)
def test_detector_is_built_with_them(name):
    cfg = v1_compatible(load(name))
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    roi_head = getattr(model, 'roi_head', None)
    dense = model.rpn_head if roi_head else model.bbox_head
    beta = 1 / 9 if roi_head else 0.11
    assert type(dense.prior_generator) is LegacyAnchorGenerator
    assert dense.prior_generator.center_offset == 0.5
    heads = [(dense, beta)]
    if roi_head:
        boxes = roi_head.bbox_head
        heads += [(head, 1.0) for head in (boxes if 'cascade' in name else [boxes])]
        layers = [m for m in roi_head.modules() if type(m).__name__ == 'RoIAlign']
        assert {layer.output_size[0] for layer in layers} == (
            {7, 14} if 'mask' in name else {14} if '_c4_' in name else {7}
        )
        for layer in layers:
            assert (layer.aligned, layer.sampling_ratio) == (False, 2)
        assert model.train_cfg.rpn_proposal.max_per_img == 2000
    for head, expected in heads:
        assert type(head.bbox_coder) is LegacyDeltaXYWHBBoxCoder
        assert type(head.loss_bbox) is SmoothL1Loss
        assert head.loss_bbox.beta == expected


def test_twice_is_as_once():
    once = v1_compatible(load('psconv/mask-rcnn_r50_fpn_1x_coco.py'))
    assert v1_compatible(once).to_dict() == once.to_dict()


@pytest.mark.parametrize(
    ('name', 'detector'),
    [
        ('ic_conv/detr_r50_150e_coco.py', 'DETR'),
        ('ic_conv/fcos_r50_fpn_13e_coco.py', 'FCOS'),
        ('ic_conv/rfcn_r50_18e_voc0712.py', 'RFCN'),
        ('_base_/mmic.py', 'none'),
    ],
)
def test_unknown_detector_is_refused(name, detector):
    with pytest.raises(ValueError, match=f'RetinaNet; the config has {detector}'):
        v1_compatible(load(name))


@pytest.mark.parametrize(
    ('part', 'other', 'known'),
    [
        ('rpn_head.loss_bbox', 'GIoULoss', 'L1Loss and SmoothL1Loss'),
        ('rpn_head.anchor_generator', 'YXYXAnchorGenerator', 'AnchorGenerator'),
        ('roi_head.bbox_head.bbox_coder', 'TBLRBBoxCoder', 'DeltaXYWHBBoxCoder'),
        ('roi_head.bbox_roi_extractor.roi_layer', 'RoIPool', 'RoIAlign'),
    ],
)
def test_other_parts_are_refused(part, other, known):
    cfg = load('psconv/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.merge_from_dict({f'model.{part}.type': other})
    with pytest.raises(ValueError, match=f'{known}.*; the config has {other}'):
        v1_compatible(cfg)


def test_commands_train_and_test_with_them(tmp_path, toy_data):
    config = write_detector_config(tmp_path / 'plain.py', toy_data, type='ResNet')
    run = tmp_path / 'run'
    flags = ('--work-dir', run, '--v1-compatible')
    done = call_tool('train.py', config, *flags)
    assert done.code == 0, done.text
    assert Config.fromfile(run / 'plain.py').model.rpn_head.loss_bbox.type == 'SmoothL1Loss'
    done = call_tool('test.py', config, run / 'epoch_1.pth', *flags)
    assert done.code == 0, done.text
    dumped = Config.fromfile(run / 'plain.py').model
    assert dumped.roi_head.bbox_head.bbox_coder.type == 'LegacyDeltaXYWHBBoxCoder'
