"""The configs of the paper's Table 8: schedule, networks, and what sets each apart."""

import copy
import functools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip('mmpose', reason='mmic.pose is built on mmpose')

from mmic.layers import ICConv2d
from mmic.models.selection import is_3x3, searched_convs
from mmic.pattern import DilationPattern, LayerPattern
from mmic.supernet import WideConv2d

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'ic_conv' / 'pose'
NAMES = sorted(path.name for path in FOLDER.glob('*.py'))
SCHEDULE = '_300e_coco-640x640'
DEPTHS = ('50', '101')
# 3x3 convolutions of the backbone: one in each block.
BLOCKS = {'50': 3 + 4 + 6 + 3, '101': 3 + 4 + 23 + 3}


@functools.lru_cache(maxsize=None)
def load_once(name):
    return Config.fromfile(FOLDER / name)


def build(name, device='meta', **backbone):
    cfg = copy.deepcopy(load_once(name))
    cfg.model.backbone.update(backbone, init_cfg=None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device(device):
        return MODELS.build(ConfigDict(cfg.model))


def plain_backbone(cfg):
    """The backbone of a config with the plain ResNet's type and without the method's setting."""
    backbone = dict(cfg['model']['backbone'], type='mmdet.ResNet')
    backbone.pop('d_max', None)
    backbone.pop('pattern', None)
    return backbone


def test_there_is_a_config_for_each_row_of_the_table():
    networks = [
        f'{kind}r{depth}{end}' for depth in DEPTHS for kind, end in (('', ''), ('ic-', '-k13'))
    ]
    expected = [f'ae_{network}{SCHEDULE}{ms}.py' for network in networks for ms in ('', '-ms')]
    for kind in ('supernet', 'published'):
        expected += [f'ae_ic-r{depth}-k13-{kind}{SCHEDULE}.py' for depth in DEPTHS]
    assert sorted(expected) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_schedule_is_the_papers(name):
    cfg = load_once(name)
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3)
    _, steps = cfg.param_scheduler
    assert (steps.milestones, steps.gamma, steps.end) == ([200, 260], 0.1, 300)
    assert cfg.train_cfg.max_epochs == 300
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size
    for pipeline in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert pipeline.dataset.pipeline[1].input_size == (640, 640)


@pytest.mark.parametrize('name', [name for name in NAMES if '_ic-' in name and '-ms' not in name])
def test_method_changes_the_convolutions_only(name):
    ours = load_once(name).to_dict()
    plain = load_once(re.sub('ic-|-k13|-supernet|-published', '', name))
    plain = plain.to_dict()
    backbone = ours['model']['backbone']
    assert backbone['type'] == 'ICResNet'
    if 'supernet' in name:
        assert (backbone['d_max'], backbone.get('pattern')) == (6, None)
    else:
        pattern = FOLDER / 'patterns' / f'{Path(name).stem}.json'
        if 'published' in name:
            network = f'ic_resnet{re.search("-r([0-9]+)-", name)[1]}_k13'
            pattern = FOLDER / '..' / 'patterns' / f'human_pose-{network}.json'
        assert (Path(backbone['pattern']), backbone.get('d_max')) == (pattern, None)
    ours['model']['backbone'] = plain_backbone(ours)
    assert ours == plain


@pytest.mark.parametrize('name', [name for name in NAMES if '-ms' in name])
def test_multiscale_config_differs_in_the_test_only(name):
    ours, single = load_once(name).to_dict(), load_once(name.replace('-ms', '')).to_dict()
    assert ours['model']['test_cfg'].pop('multiscale_test') is True
    assert single['model']['test_cfg'].pop('multiscale_test') is False
    for loader in ('val_dataloader', 'test_dataloader'):
        assert ours[loader]['dataset']['pipeline'][1].pop('aug_scales') == [0.5, 2]
    assert ours == single


@pytest.mark.parametrize('depth', DEPTHS)
def test_networks_have_the_plain_parameters(depth, tmp_path):
    plain = build(f'ae_r{depth}{SCHEDULE}.py')
    convs = searched_convs(plain.backbone, is_3x3)
    assert len(convs) == BLOCKS[depth]
    expected = {name: tuple(value.shape) for name, value in plain.state_dict().items()}
    supernet = build(f'ae_ic-r{depth}-k13-supernet{SCHEDULE}.py')
    wide = {name for name, m in supernet.backbone.named_modules() if isinstance(m, WideConv2d)}
    assert wide == set(convs)
    for name, value in supernet.state_dict().items():
        shape = expected[name]
        if name.partition('.')[2].rpartition('.')[0] in wide:
            assert shape[2:] == (3, 3)
            shape = (*shape[:2], 13, 13)
        assert value.shape == shape
    layers = {
        name: LayerPattern(
            torch.randint(1, 7, (conv.out_channels, 2)), (3, 3), conv.in_channels, conv.groups
        )
        for name, conv in convs.items()
    }
    DilationPattern(layers, 'edo').save(tmp_path / 'pattern.json')
    searched = build(
        f'ae_ic-r{depth}-k13{SCHEDULE}.py', 'cpu', pattern=str(tmp_path / 'pattern.json')
    )
    found = {name for name, m in searched.backbone.named_modules() if isinstance(m, ICConv2d)}
    assert found == set(convs)
    assert {name: tuple(p.shape) for name, p in searched.named_parameters()} == {
        name: tuple(p.shape) for name, p in plain.named_parameters()
    }


@pytest.mark.parametrize('name', [f'ae_r{depth}{SCHEDULE}.py' for depth in DEPTHS])
def test_maps_are_a_quarter_of_the_input(name):
    model = build(name)
    images = torch.zeros(1, 3, 640, 640, device='meta')
    heatmaps, tags = model(images, None, mode='tensor')
    assert heatmaps.shape == tags.shape == (1, 17, 160, 160)
    # Nothing is frozen, and batch norms train.
    assert all(parameter.requires_grad for parameter in model.train().parameters())
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.training for norm in norms)


def test_pipelines_and_metric_build():
    cfg = copy.deepcopy(load_once(f'ae_r50{SCHEDULE}-ms.py'))
    from mmpose.registry import TRANSFORMS

    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)
