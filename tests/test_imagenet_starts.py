"""The networks that the chains train on ImageNet fit the detectors that start from them."""

import copy
import functools
from pathlib import Path
from unittest import mock

import mmengine
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from mmic.models.selection import is_3x3, searched_convs
from mmic.pattern import DilationPattern, LayerPattern

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')

# ImageNet training and a config that starts from it, one for each network. Searched networks have
# the plain one's weights, as other tests show.
STARTS = [
    ('ic_conv/imagenet/ic-r50-k9-supernet', 'ic_conv/faster-rcnn_ic-r50-k9-supernet_fpn_13e_coco'),
    ('ic_conv/imagenet/ic-r50-k9-supernet', 'ic_conv/faster-rcnn_ic-r50-k9-supernet_c4_13e_coco'),
    ('ic_conv/imagenet/ic-r101-k9-supernet', 'ic_conv/mask-rcnn_ic-r101-k9-supernet_fpn_13e_coco'),
    (
        'ic_conv/imagenet/ic-x101-32x4d-k9-supernet',
        'ic_conv/faster-rcnn_ic-x101-32x4d-k9-supernet_fpn_13e_coco',
    ),
    (
        'ic_conv/imagenet/ic-r50-k13-supernet',
        'ic_conv/pose/ae_ic-r50-k13-supernet_300e_coco-640x640',
    ),
    (
        'ic_conv/imagenet/ic-r101-k13-supernet',
        'ic_conv/pose/ae_ic-r101-k13-supernet_300e_coco-640x640',
    ),
    ('psconv/imagenet/ps-r50', 'psconv/faster-rcnn_ps-r50_fpn_1x_coco'),
    ('psconv/imagenet/ps-r101', 'psconv/faster-rcnn_ps-r101_fpn_1x_coco'),
    ('psconv/imagenet/ps-x101-32x4d', 'psconv/faster-rcnn_ps-x101-32x4d_fpn_1x_coco'),
]
# Config.fromfile reads a host's whole index of models for each of its files that it inherits.
read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)


@functools.lru_cache(maxsize=None)
def load(name):
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(ROOT / 'configs' / name, import_custom_modules=False)


def build(node, scope, device='meta'):
    # mmpretrain's ResNet reads the values of one.
    linspace = mock.patch('torch.linspace', functools.partial(torch.linspace, device='cpu'))
    with DefaultScope.overwrite_default_scope(scope), linspace, torch.device(device):
        return MODELS.build(ConfigDict(copy.deepcopy(node)))


def backbone_parts(model):
    """The nodes of a model's config that hold its backbone: C4's head has the fifth stage."""
    shared_head = model.get('roi_head', {}).get('shared_head')
    return [model.backbone, *([shared_head] if shared_head else [])]


def weights(cfg, device='meta'):
    parts = [build(node, cfg.default_scope, device) for node in backbone_parts(cfg.model)]
    return {key: value for part in parts for key, value in part.state_dict().items()}


@pytest.mark.parametrize(('start', 'config'), STARTS)
def test_weights_fit(start, config):
    if '/pose/' in config:
        pytest.importorskip('mmpose')
    ours, trained = weights(load(f'{config}.py')), weights(load(f'{start}_100e_in1k.py'))
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in trained.items()
    }


def test_classifier_of_c4_has_the_patterns_of_both_parts(tmp_path):
    detector = copy.deepcopy(load('ic_conv/faster-rcnn_ic-r50-k9_c4_20e_crowdhuman.py'))
    classifier = load('ic_conv/imagenet/ic-r50-k9-c4-crowdhuman_100e_in1k.py')
    classifier = copy.deepcopy(classifier)
    plain = load('ic_conv/faster-rcnn_r50_c4_20e_crowdhuman.py').model
    inner = classifier.model.backbone
    theirs = backbone_parts(detector.model)
    generator = torch.Generator().manual_seed(0)
    for ours, part, node in zip((inner.model, inner), theirs, backbone_parts(plain)):
        assert Path(ours.pattern).resolve() == Path(part.pattern)
        convs = searched_convs(build(node, 'mmdet'), is_3x3)
        layers = {
            name: LayerPattern(
                torch.randint(1, 5, (conv.out_channels, 2), generator=generator), (3, 3)
            )
            for name, conv in convs.items()
        }
        path = tmp_path / f'{len(layers)}.json'
        DilationPattern(layers, 'edo').save(path)
        ours.pattern = part.pattern = str(path)
    ours, trained = weights(detector, 'cpu'), weights(classifier, 'cpu')
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in trained.items()
    }
    dilations = [key for key in ours if key.endswith('dilations')]
    assert len(dilations) == 16
    assert all(torch.equal(ours[key], trained[key]) for key in dilations)
