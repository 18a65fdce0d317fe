"""The CR-NAS configs: each builds, is the paper's network in the paper's schedule, costs what the
plain one costs, and starts from weights that fit it."""

import copy
import functools
import re
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict, utils
from mmengine.registry import MODELS, DefaultScope

from mmic.analysis.complexity import count_complexity
from mmic.layers import ICConv2d
from mmic.supernet import ChoiceConv2d
from mmic.supernet.paths import choice_modules

pytest.importorskip('mmdet')

ROOT = Path(__file__).resolve().parents[1] / 'configs'
FOLDER = ROOT / 'cr_nas'
DETECTORS = sorted(path.name for path in FOLDER.glob('*.py'))
CLASSIFIERS = sorted(f'imagenet/{path.name}' for path in FOLDER.glob('imagenet/*.py'))
SUPERNETS = [name for name in DETECTORS + CLASSIFIERS if '-supernet_' in name]
NETWORKS = [
    name
    for name in DETECTORS + CLASSIFIERS
    if re.search('[_/]s?cr-', name) and name not in SUPERNETS
]
SEARCHED = [name for name in NETWORKS if name in DETECTORS]
PLAIN = [name for name in DETECTORS if name not in SEARCHED + SUPERNETS]
# Networks that were found, and plain ones; supernets have another recipe.
TRAINED = [name for name in CLASSIFIERS if name not in SUPERNETS]
TOY = ['r18-4stages', 'cr-r18-stage-supernet', 'cr-r18-operation-supernet', 'cr-r18']
TOY = [f'../toy/faster-rcnn_{name}_fpn_toy.py' for name in TOY]

# Tables 5 and 6 of the paper; operation codes 0, 1, 2 are dilations 1, 2, 3.
STAGES = {
    'mobilenetv2': (1, 1, 2, 2, 3, 4, 4, 1, 1, 1),
    'r18': (1, 1, 2, 4),
    'r50': (1, 3, 5, 7),
    'r101': (2, 3, 17, 11),
    'x50-32x4d': (2, 2, 6, 6),
    'x101-32x4d': (3, 4, 15, 11),
}
CODES = {
    # Without the stem and the last two units, which have no dilation to choose.
    'mobilenetv2': '10102011001101102',
    'r18': '00101021',
    'r50': '0010001200102112',
    'r101': '000000101000200010101011001012011',
}
# All metafiles of a host are read for each of its bases; that would take most of the time.
read_once = functools.lru_cache(maxsize=None)(utils.load)
# Epochs of training: where the rate falls to a tenth.
STEPS = {13: [8, 11], 18: [15, 17], 20: [16, 19], 25: [16, 22]}


class Facts(NamedTuple):
    """What the tests ask of a model, which is built once."""

    parameters: int
    backbone: dict  # shapes by name
    macs: int
    not_run: list
    stage_blocks: tuple
    dilations: str
    choices: list


def network_of(name):
    """Part of a config's name: ``r50`` of ``faster-rcnn_scr-r50_fpn_13e_coco.py``."""
    found = re.search(r'[_/](?:s?cr-)?((?:r|x|mobilenetv)\d+(?:-32x4d)?)[-_]', name)
    return found[1]


@functools.lru_cache(maxsize=None)
def load(name):
    with mock.patch.object(utils, 'load', read_once):
        return Config.fromfile(FOLDER / name)


@functools.lru_cache(maxsize=None)
def facts(name):
    cfg = load(name)
    model = copy.deepcopy(cfg.model)
    # Nothing is downloaded, and random weights take time that no test here needs.
    model.backbone.init_cfg = None
    init = mock.patch('torch.nn.init.kaiming_uniform_', lambda tensor, *args, **kwargs: tensor)
    # Dilations are values, which the meta device has not.
    device = 'cpu' if re.search('[_/]cr-', name) and '-supernet_' not in name else 'meta'
    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    with init, scope, torch.device(device):
        built = MODELS.build(ConfigDict(model))
        size = (800, 1088) if name in DETECTORS else (128, 128)
        count = count_complexity(built, size)
    convs = [module for module in built.backbone.modules() if isinstance(module, ICConv2d)]
    assert all((conv.dilations == conv.dilations[0, 0]).all() for conv in convs)
    choices = choice_modules(built).values() if '-supernet_' in name else ()
    return Facts(
        sum(parameter.numel() for parameter in built.parameters()),
        {key: tuple(value.shape) for key, value in built.backbone.state_dict().items()},
        count.total_macs,
        count.not_run,
        getattr(built.backbone, 'stage_blocks', None),
        ''.join(str(conv.dilations[0, 0].item() - 1) for conv in convs),
        [(type(part).__name__, part.choices) for part in choices],
    )


def test_configs_are_those_of_the_papers_tables():
    def named(pattern):
        return {network_of(name) for name in DETECTORS if re.fullmatch(pattern, name)}

    every, large = set(STAGES), {'r50', 'r101'}
    assert named(r'faster-rcnn_(?!s?cr)[^_]+_fpn_13e_coco.py') == every
    assert named(r'faster-rcnn_cr-[^_]+_fpn_13e_coco.py') == set(CODES)  # Table 1
    assert named(r'faster-rcnn_scr-[^_]+_fpn_13e_coco.py') == every  # Table 4
    assert named(r'faster-rcnn_cr-[^_]+_fpn_18e_voc0712.py') == large  # Table 2
    assert named(r'mask-rcnn_cr-[^_]+_fpn_13e_coco.py') == large | {'mobilenetv2'}  # Table 3
    assert named(r'faster-rcnn_cr-r\d+_fpn_25e_coco.py') == large  # Table 7
    assert named(r'cascade-mask-rcnn_cr-[^_]+_fpn_20e_coco.py') == {'r101'}  # Table 8
    assert named(r'faster-rcnn_cr-[^_]+_nasfpn_13e_coco.py') == {'r50'}  # Table 9
    assert (len(PLAIN), len(SEARCHED), len(SUPERNETS), len(CLASSIFIERS)) == (15, 19, 16, 24)
    assert {network_of(name) for name in TRAINED if not re.search('/s?cr-', name)} == every


@pytest.mark.parametrize('name', NETWORKS)
def test_network_is_the_published_one(name):
    found, network = facts(name), network_of(name)
    assert found.stage_blocks == STAGES[network]
    # Without dilations all convolutions are plain ones.
    assert found.dilations == ('' if 'scr-' in name else CODES[network])


@pytest.mark.parametrize('name', PLAIN + SEARCHED)
def test_every_layer_runs(name):
    assert facts(name).not_run == []


@pytest.mark.parametrize('name', SEARCHED)
def test_network_costs_what_the_plain_one_costs(name):
    plain = facts(re.sub('_s?cr-', '_', name)).macs
    # Blocks of a ResNet cost the same in every stage, those of MobileNetV2 nearly so.
    tolerance = 5e-3 if 'mobilenetv2' in name else 0
    assert facts(name).macs == pytest.approx(plain, rel=tolerance, abs=0)


@pytest.mark.parametrize('name', SEARCHED)
def test_config_differs_from_the_plain_one_in_the_backbone_only(name):
    ours = load(name).to_dict()
    plain = load(re.sub('_s?cr-', '_', name)).to_dict()
    assert ours.pop('custom_imports') == dict(imports=['mmic'], allow_failed_imports=False)
    backbone, expected = ours['model'].pop('backbone'), plain['model'].pop('backbone')
    assert ours == plain
    assert backbone.pop('type') == f'CR{expected.pop("type")}'
    assert backbone.pop('arch').startswith('SCR-' if '_scr-' in name else 'CR-')
    assert backbone.pop('init_cfg') != expected.pop('init_cfg')
    assert backbone == expected


@pytest.mark.parametrize('name', DETECTORS)
def test_schedule_is_the_papers(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr / cfg.auto_scale_lr.base_batch_size == pytest.approx(0.00125)
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    epochs = int(re.search(r'_(\d+)e_', name)[1])
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.type, warm_up.by_epoch, warm_up.end) == ('LinearLR', False, 500)
    assert (steps.milestones, steps.gamma, steps.end) == (STEPS[epochs], 0.1, epochs)
    assert cfg.train_cfg.max_epochs == epochs
    scale = next(step for step in cfg.train_pipeline if step['type'] == 'Resize')['scale']
    assert tuple(scale) == ((1000, 600) if 'voc' in name else (1333, 800))


@pytest.mark.parametrize('name', TRAINED)
def test_imagenet_schedule_is_the_common_one_in_steps(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 0.1, 0.9)
    assert optimizer.weight_decay == 1e-4
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 256
    steps = cfg.param_scheduler
    assert (steps.type, steps.milestones, steps.gamma) == ('MultiStepLR', [30, 60, 90], 0.1)
    assert (cfg.train_cfg.max_epochs, cfg.model.head.num_classes) == (100, 1000)


@pytest.mark.parametrize('name', [name for name in TRAINED if re.search('/s?cr-', name)])
def test_found_network_is_trained_on_imagenet_as_the_plain_one(name):
    ours, plain = load(name).to_dict(), load(re.sub('/s?cr-', '/', name)).to_dict()
    backbone, expected = ours['model'].pop('backbone'), plain['model'].pop('backbone')
    assert ours == plain
    assert backbone.pop('type') == f'CR{expected.pop("type").partition(".")[2]}'
    assert backbone.pop('arch').startswith('SCR-' if '/scr-' in name else 'CR-')
    assert backbone == expected


@pytest.mark.parametrize('name', [name for name in CLASSIFIERS if name in SUPERNETS])
def test_imagenet_schedule_is_that_of_the_supernets(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 0.4, 0.9)
    assert optimizer.weight_decay == 1e-4
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    warm_up, cosine = cfg.param_scheduler
    assert cosine.type == 'CosineAnnealingLR'
    assert (warm_up.end, cosine.begin, cosine.end, cosine.T_max) == (5, 5, 150, 145)
    assert (cfg.train_cfg.max_epochs, cfg.model.head.num_classes) == (150, 1000)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_training_accuracy_is_logged(name):
    cfg = load(name)
    assert cfg.model.head.cal_acc
    assert [mean.data_src for mean in cfg.log_processor.custom_cfg] == ['accuracy_top-1']


@pytest.mark.parametrize('name', DETECTORS + CLASSIFIERS)
def test_norms_are_synchronised(name):
    backbone = load(name).model.backbone
    # mmdet's ResNet keeps their statistics unless it is told otherwise, MobileNetV2 does not.
    mobile = 'mobilenetv2' in name
    assert (backbone.norm_cfg.type, backbone.get('norm_eval')) == (
        'SyncBN',
        None if mobile else False,
    )
    assert 'pretrained' not in backbone


@pytest.mark.parametrize('name', [n for n in DETECTORS if n in SEARCHED + SUPERNETS])
def test_start_is_what_the_imagenet_config_of_the_same_network_trains(name):
    init = load(name).model.backbone.init_cfg
    assert (init.type, init.prefix) == ('Pretrained', 'backbone.')
    epochs = 150 if name in SUPERNETS else 100
    trained = f'{name.split("_")[1]}_{epochs}e_in1k'
    assert init.checkpoint == f'work_dirs/{trained}/epoch_{epochs}.pth'
    mine, start = facts(name), facts(f'imagenet/{trained}.py')
    assert mine.backbone == start.backbone
    assert (mine.stage_blocks, mine.dilations) == (start.stage_blocks, start.dilations)
    assert mine.choices == start.choices


@pytest.mark.parametrize('name', [name for name in DETECTORS if name in PLAIN])
def test_plain_network_starts_from_weights_of_its_own_kind(name):
    network = network_of(name)
    expected = {
        'r': f'torchvision://resnet{network[1:]}',
        'x': f'open-mmlab://resnext{network[1:].replace("-", "_")}',
        'm': 'open-mmlab://mmdet/mobilenet_v2',
    }
    assert load(name).model.backbone.init_cfg.checkpoint == expected[network[0]]


@pytest.mark.parametrize('name', PLAIN)
def test_plain_network_of_a_chain_is_trained_on_imagenet_too(name):
    trained = f'imagenet/{network_of(name)}_100e_in1k.py'
    assert facts(name).backbone == facts(trained).backbone


@pytest.mark.parametrize('name', SUPERNETS)
def test_supernet_is_the_papers(name):
    found, network = facts(name), network_of(name)
    if 'mobilenetv2' in name:
        lengths = [(1, 2, 3, 4, 5)] * 2 + [(3, 4, 5, 6, 7)] + [(2, 3, 4, 5, 6)] * 2
    else:
        lengths = [tuple(range(1, 11))] * 2
        lengths.append((2, 3, 5, 6, 9, 11, 14, 17, 20, 23))
        lengths.append((2, 3, 4, 6, 7, 9, 11, 13, 15, 17))
        # Half of the 64 channels of a ResNet's stem.
        assert found.backbone['conv1.weight'][0] == 32
    if '-operation-' in name:
        assert found.stage_blocks == STAGES[network]
        assert found.choices == [(ChoiceConv2d.__name__, (1, 2, 3))] * len(CODES[network])
    else:
        assert found.choices == [('StageBranches', choice) for choice in lengths]


@pytest.mark.parametrize('name', SUPERNETS + TOY[1:3])
def test_supernet_trains_a_path_at_a_time(name):
    cfg = load(name)
    assert cfg.custom_hooks == [dict(type='PathSamplingHook')]
    assert cfg.find_unused_parameters
    assert cfg.model.backbone.get('frozen_stages', -1) == -1


@pytest.mark.parametrize('name', [name for name in SUPERNETS if name in DETECTORS] + TOY[1:3])
def test_supernet_is_scored_on_held_out_training_images(name):
    cfg = load(name)
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert train.ann_file == 'annotations/archtrain.json'
    assert val.ann_file == 'annotations/archval.json'
    assert val.data_prefix == train.data_prefix
    assert val.data_root == train.data_root
    assert cfg.val_evaluator.ann_file == f'{val.data_root}annotations/archval.json'
    assert cfg.test_dataloader.dataset.ann_file == val.ann_file
    assert cfg.test_evaluator == cfg.val_evaluator


@pytest.mark.parametrize('name', [name for name in DETECTORS if 'mobilenetv2' in name])
def test_mobilenetv2_says_that_its_last_convolution_is_not_used(name):
    assert max(load(name).model.backbone.out_indices) == 6
    assert load(name).find_unused_parameters


@pytest.mark.parametrize('name', [name for name in DETECTORS if 'voc0712' in name])
def test_voc_is_one_pass_over_all_objects(name):
    cfg = load(name)
    dataset = cfg.train_dataloader.dataset
    assert (dataset.type, dataset.times) == ('RepeatDataset', 1)
    years = dataset.dataset.datasets
    prefixes = ['VOC2007/', 'VOC2012/']
    assert [year.ann_file for year in years] == [
        f'{p}ImageSets/Main/trainval.txt' for p in prefixes
    ]
    assert all(year.filter_cfg.bbox_min_size is None for year in years)
    assert cfg.model.roi_head.bbox_head.num_classes == 20


def test_toy_chain_has_one_space():
    plain, stage, operation, searched = map(facts, TOY)
    assert [kind for kind, _ in stage.choices] == ['StageBranches'] * 4
    assert operation.choices == [('ChoiceConv2d', (1, 2, 3))] * 8
    assert operation.stage_blocks == STAGES['r18']
    assert (len(searched.stage_blocks), sum(searched.stage_blocks)) == (4, 8)
    assert len(searched.dilations) == 8
    assert searched.macs == plain.macs


def test_readme_counts_the_parameters_of_each_detector():
    page = (FOLDER / 'README.md').read_text()
    told = dict(re.findall(r'\]\(([\w.-]+\.py)\) \| ([\d.]+) M \|', page))
    assert sorted(told) == DETECTORS
    for name in DETECTORS:
        assert told[name] == f'{facts(name).parameters / 1e6:.2f}', name


def test_readme_links_the_imagenet_configs():
    page = (FOLDER / 'README.md').read_text()
    assert set(re.findall(r'\]\((imagenet/[\w.-]+\.py)\)', page)) == set(CLASSIFIERS)


def test_metafile_lists_the_detectors():
    content = yaml.safe_load((FOLDER / 'metafile.yml').read_text())
    assert sorted(Path(model['Config']).name for model in content['Models']) == DETECTORS
