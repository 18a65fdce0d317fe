"""CR-NAS, Table 1: cost of the whole detector, of the published networks and the plain ones.

Faster R-CNN with FPN at 800 x 1088, in GFLOPs, which are thousands of millions of
multiply-accumulates, without RoIAlign.
"""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmic.analysis.complexity import count_complexity
from mmic.analysis.plain import plain_config

pytest.importorskip('mmdet', reason='mmdet is not installed')

ROOT = Path(__file__).resolve().parents[2]
WIDE = [256, 512, 1024, 2048]
# Architecture, printed for the plain network and for CR's, channels of the FPN, plain backbone.
TABLE = [
    ('MobileNetV2', 121.1, 121.4, [24, 32, 96, 320], dict(out_indices=(1, 2, 4, 6))),
    ('ResNet18', 147.7, 147.6, [64, 128, 256, 512], dict(depth=18)),
    ('ResNet50', 192.5, 192.7, WIDE, dict(depth=50)),
    ('ResNet101', 257.3, 257.5, WIDE, dict(depth=101)),
]


def detector_config(channels, **backbone):
    path = ROOT / 'configs' / 'ic_conv' / 'faster-rcnn_r50_fpn_13e_coco.py'
    cfg = Config.fromfile(path).model
    cfg.backbone, cfg.neck.in_channels = backbone, channels
    return cfg


def count(cfg):
    init_default_scope('mmdet')
    return count_complexity(MODELS.build(cfg), (800, 1088), proposals=2000)


@pytest.mark.parametrize(('name', 'plain', 'searched', 'channels', 'arguments'), TABLE)
def test_table_1(name, plain, searched, channels, arguments):
    host = 'MobileNetV2' if name == 'MobileNetV2' else 'ResNet'
    plain_cfg = detector_config(channels, type=f'mmdet.{host}', **arguments)
    cfg = detector_config(channels, type=f'CR{host}', arch=f'CR-{name}', **arguments)
    # The name tells the depth.
    cfg.backbone.pop('depth', None)
    mine, theirs = count(cfg), count(plain_cfg)
    assert mine.total_macs / 1e9 == pytest.approx(searched, rel=0.01)
    assert theirs.total_macs / 1e9 == pytest.approx(plain, rel=0.01)
    difference = (mine.total_macs - theirs.total_macs) / 1e9
    assert difference == pytest.approx(searched - plain, abs=0.5)
    assert mine.not_run == theirs.not_run == []
    assert plain_config(cfg) == plain_cfg
    # A block of a ResNet costs the same in every stage, and dilation costs nothing (section 3.2).
    if host == 'ResNet':
        assert mine.macs == theirs.macs


@pytest.mark.parametrize(
    ('searched', 'plain'),
    [
        (
            dict(type='CRResNeXt', arch='SCR-ResNeXt50-32x4d', norm_eval=True),
            dict(type='mmdet.ResNeXt', depth=50, groups=32, norm_eval=True),
        ),
        (
            dict(type='CRResNet', depth=18, stage_blocks=(1, 1, 2, 4), dilations=[1] * 8),
            dict(type='mmdet.ResNet', depth=18),
        ),
        # The supernets are half as wide (appendix A.1).
        (
            dict(type='CRResNet', depth=50, search='stage'),
            dict(type='mmdet.ResNet', depth=50, base_channels=32),
        ),
        (
            dict(type='CRResNet', arch='SCR-ResNet50', search='operation'),
            dict(type='mmdet.ResNet', depth=50, base_channels=32),
        ),
    ],
)
def test_plain_backbone_of_every_form(searched, plain):
    init_default_scope('mmdet')
    assert plain_config(searched) == plain
