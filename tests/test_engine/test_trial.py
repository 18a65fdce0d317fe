"""Trials of configs: what they change, that they run on every host, that they can be resumed."""

import functools
import json
import re
from pathlib import Path
from unittest import mock

import pytest
from helpers import call_tool
from mmengine.config import Config, utils
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope

from mmic.datasets.generated import make_generated
from mmic.engine.stand_in import random_pattern, stand_in_patterns
from mmic.engine.trial import data_formats, drop_weights, trial_config
from mmic.engine.trial_all import TrialJournal, try_file
from mmic.engine.trial_run import try_config
from mmic.layers import ICConv2d

for package in ('mmdet', 'mmpose', 'mmpretrain', 'mmseg'):
    pytest.importorskip(package)

ROOT = Path(__file__).resolve().parents[2] / 'configs'
# Of each kind of data, with a searched network, a supernet or a second loader among them.
FORMATS = {
    'toy/faster-rcnn_nats-r50-supernet_fpn_toy.py': 'toy_coco',
    'nats/faster-rcnn_nats-r50-supernet_fpn_25e_coco.py': 'coco',
    'ic_conv/pose/ae_ic-r50-k13_300e_coco-640x640-ms.py': 'coco',
    'ic_conv/rfcn_ic-r50-k9_18e_voc0712.py': 'VOCdevkit',
    'ic_conv/faster-rcnn_ic-r50-k9_c4_20e_crowdhuman.py': 'CrowdHuman',
    'cr_nas/imagenet/cr-r50-stage-supernet_150e_in1k.py': 'imagenet',
    'do_conv/cifar/do-r20-v1_164e_cifar10.py': 'cifar10',
    'do_conv/segmentation/deeplabv3_do-r50-d8_do-heads_40k_cityscapes-512x1024.py': 'cityscapes',
}
NATS = 'nats/faster-rcnn_nats-r50-supernet_fpn_25e_coco.py'
SEGMENTATION = list(FORMATS)[-1]
# As tests/test_configs.py, which see: reading a host's index of models takes most of the time.
read_once = functools.lru_cache(maxsize=None)(utils.load)


@functools.lru_cache(maxsize=None)
def load(name):
    with mock.patch.object(utils, 'load', read_once):
        return Config.fromfile(ROOT / name)


def text_of(cfg):
    return json.dumps(cfg.to_dict(), sort_keys=True, default=str)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('generated')
    return make_generated(root, ['toy_coco', 'coco', 'cifar10', 'cityscapes'], 4, 2)


@pytest.mark.parametrize('name', FORMATS)
def test_trial_reads_its_own_data_set_elsewhere(name):
    cfg = load(name)
    before = text_of(cfg)
    assert data_formats(cfg) == {FORMATS[name]}
    trial = trial_config(cfg, '/elsewhere')
    assert text_of(cfg) == before, 'the original has changed'
    assert data_formats(trial) == set()
    found = set(re.findall(r'"(?:\./)?data/[^"]*"', before))
    moved = set(re.findall(r'"/elsewhere/[^"]*"', text_of(trial)))
    assert moved == {path.replace('data/', '/elsewhere/', 1) for path in found} != set()


def test_norms_follow_the_batch_where_weights_are_dropped():
    """Else a ResNet-101 of random weights overflows, whose blocks do not start at zero."""

    def backbone(checkpoint):
        init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
        return dict(type='ResNet', depth=101, norm_eval=True, init_cfg=init_cfg)

    cfg = Config(dict(model=dict(first=backbone('torchvision://x'), second=backbone('here.pth'))))
    drop_weights(cfg, lambda checkpoint: '://' in checkpoint)
    assert (cfg.model.first.init_cfg, cfg.model.first.norm_eval) == (None, False)
    assert (cfg.model.second.init_cfg.checkpoint, cfg.model.second.norm_eval) == ('here.pth', True)


@pytest.mark.parametrize('name', FORMATS)
def test_trial_fetches_nothing_and_starts_no_process(name):
    text = text_of(trial_config(load(name), 'x'))
    assert '://' not in text
    assert set(re.findall(r'"num_workers": (\d+)', text)) == {'0'}
    assert {int(size) for size in re.findall(r'"batch_size": (\d+)', text)} <= {1, 2}
    assert '"persistent_workers": true' not in text


def test_trial_keeps_weights_that_lie_here():
    cfg = load('cr_nas/faster-rcnn_cr-r50_fpn_13e_coco.py')
    assert trial_config(cfg, 'x').model.backbone.init_cfg == cfg.model.backbone.init_cfg


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        # (1200, 800) and (640, 640), of which the heatmaps are a quarter, to 64.
        (NATS, {'scale': {(64, 43)}}),
        (
            'ic_conv/pose/ae_ic-r50-k13_300e_coco-640x640-ms.py',
            {'input_size': {(64, 64)}, 'heatmap_size': {(16, 16), (64, 64)}},
        ),
        # 256 to 64.
        (
            'cr_nas/imagenet/cr-r50-stage-supernet_150e_in1k.py',
            {'scale': {56, 64}, 'crop_size': {56}},
        ),
        # 32 stays.
        ('do_conv/cifar/do-r20-v1_164e_cifar10.py', {'crop_size': {32}}),
        # (2048, 1024), cropped to (512, 1024), to 64.
        (SEGMENTATION, {'scale': {(64, 32)}, 'crop_size': {(16, 32)}, 'size': {(16, 32)}}),
    ],
)
def test_images_shrink_by_one_factor(name, expected):
    cfg = trial_config(load(name), 'x', max_size=64)
    found = {key: set() for key in expected}

    def collect(value):
        if isinstance(value, dict):
            for key, item in value.items():
                if key in found:
                    found[key].add(tuple(item) if isinstance(item, (list, tuple)) else item)
                collect(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                collect(item)

    collect([cfg.train_dataloader, cfg.val_dataloader, cfg.model])
    assert found == expected


def times(cfg):
    """Begin, end and the time in between where the rate changes, of all schedulers."""
    schedulers = cfg.param_scheduler
    if 'type' in schedulers:
        schedulers = [schedulers]
    elif isinstance(schedulers, dict):
        schedulers = [one for several in schedulers.values() for one in several]
    keys = ('begin', 'end', 'T_max', 'milestones')
    return [tuple(one[key] for key in keys if key in one) for one in schedulers]


@pytest.mark.parametrize(
    ('name', 'epochs', 'expected'),
    [
        # 8 images in batches of 2 are 4 steps an epoch; warm-ups are half of all steps.
        ('psconv/faster-rcnn_r50_fpn_1x_coco.py', 1, [(0, 2), (0, 1, [1])]),
        ('psconv/faster-rcnn_r50_fpn_1x_coco.py', 6, [(0, 12), (0, 6, [4, 6])]),
        ('psconv/faster-rcnn_r50_fpn_1x_coco.py', 12, [(0, 24), (0, 12, [8, 11])]),
        # Linear for 5 of 150 epochs, then half a cosine; all there is in one, one after the other
        # in more.
        ('cr_nas/imagenet/cr-r50-stage-supernet_150e_in1k.py', 1, [(0, 1), (0, 1, 1)]),
        ('cr_nas/imagenet/cr-r50-stage-supernet_150e_in1k.py', 3, [(0, 1), (1, 3, 2)]),
        # One image at a time: 8 steps an epoch.
        (NATS, 5, [(0, 20), (0, 5, 5)]),
        ('do_conv/cifar/do-r20-v1_164e_cifar10.py', 4, [([2, 3],)]),
        (SEGMENTATION, 3, [(0, 12)]),
    ],
)
def test_schedule_is_shortened_to_the_trial(name, epochs, expected):
    cfg = trial_config(load(name), 'x', epochs=epochs)
    assert times(cfg) == expected
    length = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs
    assert length == (4 * epochs if name == SEGMENTATION else epochs)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == length
    assert cfg.default_hooks.logger.interval == 1


def test_alpha_is_trained_in_the_same_share_of_the_search():
    assert load(NATS).train_cfg.freeze_epochs == 10  # of 25
    frozen = {epochs: trial_config(load(NATS), 'x', epochs=epochs) for epochs in (1, 5)}
    assert [cfg.train_cfg.freeze_epochs for cfg in frozen.values()] == [0, 2]


def test_parts_of_a_data_set_share_the_images():
    cfg = trial_config(load('cr_nas/faster-rcnn_r50_fpn_18e_voc0712.py'), 'x', num_train=5)
    years = cfg.train_dataloader.dataset.dataset.datasets
    assert [year.indices for year in years] == [3, 3]
    assert 'indices' not in cfg.train_dataloader.dataset
    assert 'indices' not in cfg.val_dataloader.dataset


def test_impossible_trial_is_refused():
    with pytest.raises(ValueError, match='epochs must be at least 1, got 0'):
        trial_config(load(NATS), 'x', epochs=0)


# Each part with a file of its own, and each with its part of one file.
@pytest.mark.parametrize('data_set', ['20e_crowdhuman', '13e_coco'])
def test_stand_in_patterns_fit_and_leave_existing_ones_alone(data_set, tmp_path):
    cfg = load(f'ic_conv/faster-rcnn_ic-r50-k9_c4_{data_set}.py')
    cfg = trial_config(cfg, 'x')
    with DefaultScope.overwrite_default_scope('mmdet'):
        stand_in_patterns(cfg, tmp_path)
        model = MODELS.build(cfg.model)
    # 13 blocks of the backbone, 3 of the shared head.
    found = {name for name, module in model.named_modules() if isinstance(module, ICConv2d)}
    head = {f'roi_head.shared_head.layer4.{block}.conv2' for block in range(3)}
    stages = {1: 3, 2: 4, 3: 6}
    assert found - head == {
        f'backbone.layer{stage}.{block}.conv2' for stage in stages for block in range(stages[stage])
    }
    assert head < found
    dilations = model.backbone.layer1[0].conv2.dilations
    assert set(dilations.flatten().tolist()) == {1, 2, 3, 4}
    path = cfg.model.backbone.pattern
    assert Path(path).parent == tmp_path
    stand_in_patterns(cfg, tmp_path / 'other')
    assert cfg.model.backbone.pattern == path
    assert not (tmp_path / 'other').exists()


def test_stand_ins_of_one_network_in_two_files_fit(tmp_path):
    cfg = trial_config(load('ic_conv/imagenet/ic-r50-k9-c4-crowdhuman_100e_in1k.py'), 'x')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        stand_in_patterns(cfg, tmp_path)
        model = MODELS.build(cfg.model)
    assert sum(isinstance(module, ICConv2d) for module in model.modules()) == 16
    assert len(list(tmp_path.iterdir())) == 2


def test_unknown_type_has_no_stand_in():
    with pytest.raises(ValueError, match=r"x.json does not exist, and for type='CRResNet'"):
        random_pattern(dict(type='CRResNet', pattern='x.json'))


# Training


@pytest.mark.parametrize(
    ('name', 'metric'),
    [
        ('toy/faster-rcnn_nats-r50-supernet_fpn_toy.py', 'coco/bbox_mAP'),
        ('ic_conv/pose/ae_r50_300e_coco-640x640-ms.py', 'coco/AP'),
        ('do_conv/cifar/do-r20-v1_164e_cifar10.py', 'accuracy/top1'),
        ('do_conv/segmentation/deeplabv3_r50-d8_40k_cityscapes-512x1024.py', 'mIoU'),
    ],
)
def test_config_of_each_host_is_trained_and_evaluated(name, metric, data, tmp_path):
    result = try_config(load(name), data, tmp_path)
    assert 0 < result['loss'] < float('inf')
    assert 0 <= result['metrics'][metric] <= 100
    assert result['seconds'] > 0


@pytest.mark.parametrize(
    ('name', 'steps'),
    [
        ('toy/faster-rcnn_r18_fpn_toy.py', 1),
        # Of the weights, and of alpha.
        ('toy/faster-rcnn_nats-r50-supernet_fpn_toy.py', 2),
    ],
)
def test_trial_takes_one_step(name, steps, data, tmp_path):
    counted, step = [], OptimWrapper.step

    def count(self, **kwargs):
        counted.append(self)
        step(self, **kwargs)

    with mock.patch.object(OptimWrapper, 'step', count):
        try_config(load(name), data, tmp_path)
    assert len(counted) == len(set(map(id, counted))) == steps


def test_metric_of_the_best_checkpoint_must_be_there(data, tmp_path):
    cfg = load('do_conv/cifar/do-r20-v1_164e_cifar10.py')
    cfg = Config(cfg.to_dict())
    cfg.default_hooks.checkpoint.save_best = 'accuracy/top5'
    with pytest.raises(ValueError, match="'accuracy/top5'; the evaluation gave accuracy/top1"):
        try_config(cfg, data, tmp_path)


def test_loss_must_be_finite(data, tmp_path):
    cfg = Config(load('do_conv/cifar/do-r20-v1_164e_cifar10.py').to_dict())
    cfg.model.head.loss.loss_weight = float('nan')
    with pytest.raises(ValueError, match='The loss is nan'):
        try_config(cfg, data, tmp_path)


# Files, and the command

GOOD = 'do_conv/cifar/do-r20-v1_164e_cifar10.py'


def test_file_that_passed_is_tried_again_when_it_changes(data, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{(ROOT / GOOD).as_posix()}'\n")
    options = (str(data), str(tmp_path / 'work'))
    first = try_file(str(path), {}, *options)
    assert first['ok'], first
    assert first['config'] == str(path)
    # Without data nothing could be tried.
    assert try_file(str(path), first, '/nowhere', options[1]) == first
    failed = try_file(str(path), dict(first, ok=False), '/nowhere', options[1])
    assert (failed['ok'], failed['digest']) == (False, first['digest'])
    path.write_text(path.read_text() + 'model = dict(head=dict(cal_acc=False))\n')
    changed = try_file(str(path), first, '/nowhere', options[1])
    assert not changed['ok']
    assert changed['digest'] != first['digest']
    assert '/nowhere' in Path(changed['traceback']).read_text()


def test_journal_cut_short_is_continued(tmp_path):
    path = tmp_path / 'results.jsonl'
    first, second = ({'config': name, 'ok': True} for name in 'ab')
    TrialJournal(path).add(first)
    with open(path, 'a') as file:
        file.write('{"config": "c", "o')
    journal = TrialJournal(path)
    assert journal.results == {'a': first}
    journal.add(second)
    assert TrialJournal(path).results == {'a': first, 'b': second}


def test_a_failure_costs_no_other_config(tmp_path):
    dies, raises = tmp_path / 'dies.py', tmp_path / 'raises.py'
    dies.write_text("__import__('os')._exit(1)\n")
    raises.write_text('model = 1 / 0\n')
    work_dir = tmp_path / 'work'
    with mock.patch('mmic.datasets.generated.make_generated') as make:
        done = call_tool('test_configs.py', dies, raises, '--work-dir', work_dir)
    assert make.call_args[0] == (work_dir / 'data',)
    assert done.code == 1
    assert '2 configs: 0 passed, 0 of them before; 2 failed' in done.text
    results = TrialJournal(work_dir / 'results.jsonl').results
    assert list(results) == [str(dies), str(raises)]
    assert 'its process died' in results[str(dies)]['error']
    assert results[str(raises)]['error'] == 'ZeroDivisionError: division by zero'
    table = done.text.partition('traceback')[2]
    assert 'ZeroDivisionError: division by zero' in table
    assert Path(results[str(raises)]['traceback']).read_text().startswith('Traceback')


def test_unknown_config_is_refused():
    done = call_tool('test_configs.py', 'nothing.py')
    assert (done.code, done.text) == (1, 'test_configs: There is no config nothing.py.')
