"""PathSamplingHook: which path runs when, also on resume and in several processes.

Run as a script, this file trains in two processes.
"""

import os
import random
import socket
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import run_command
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmic.engine import PathSamplingHook
from mmic.engine.config import start_processes_without_gpu
from mmic.supernet import ChoiceConv2d, StageBranches
from mmic.supernet.paths import choice_modules

LENGTHS, DILATIONS = (1, 2, 4), (1, 2, 3)
ITERATIONS = 12
SEED = 3


@MODELS.register_module()
class ToySupernet(BaseModel):
    """A stage and a convolution with a choice, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)

        def build(length):
            return nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(length)])

        self.stage = StageBranches(LENGTHS, build, 2)
        self.conv = ChoiceConv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 1)
        for weight in self.conv.weights:
            nn.init.normal_(weight)

    def forward(self, images, targets, mode='tensor'):
        outputs = self.head(self.conv(self.stage(images)).mean((2, 3)))[:, 0]
        if mode == 'loss':
            return {'loss': (outputs - targets).square().mean()}
        return [path_of(self)]


@DATASETS.register_module()
class ToyData(Dataset):
    """Images, and numbers to regress."""

    def __len__(self):
        return ITERATIONS * 4

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(3, 8, 8, generator=generator), torch.randn((), generator=generator)


@METRICS.register_module()
class SeenPaths(BaseMetric):
    """The paths that were evaluated."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        SeenPaths.seen = results
        return {'paths': len(set(results))}


@HOOKS.register_module()
class RecordPaths(Hook):
    """Lists the paths of the iterations that were trained, and what had a gradient."""

    priority = 'LOWEST'

    def __init__(self):
        self.paths = []
        self.trained = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.paths.append(path_of(runner.model))
        self.before = weights_of(runner.model)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        after = weights_of(runner.model)
        self.trained.append(
            {name for name in after if not torch.equal(after[name], self.before[name])}
        )


def path_of(model):
    return tuple(part.choice for part in choice_modules(model).values())


def weights_of(model):
    return {
        name.replace('module.', ''): value.detach().clone()
        for name, value in model.named_parameters()
    }


def drawn_path(iteration, seed=SEED):
    """By hand: one draw for each choice, in network order."""
    generator = random.Random(f'{seed}-{iteration}')
    return generator.choice(LENGTHS), generator.choice(DILATIONS)


def on_path(path):
    """Parameters that a step on this path trains."""
    length, dilation = path
    blocks = range(length)
    names = [f'stage.branches.{length}.{i}.{kind}' for i in blocks for kind in ('weight', 'bias')]
    return {*names, f'conv.weights.{dilation - 1}', 'conv.bias', 'head.weight', 'head.bias'}


def loader_of(shuffle):
    return dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='ToyData'),
    )


def config_of(work_dir, epochs=3, hook=None, **more):
    """Settings of a Runner; ``hook`` is those of the PathSamplingHook."""
    hook = dict(type='PathSamplingHook', seed=SEED, **(hook or {}))
    cfg = dict(
        model=dict(type='ToySupernet'),
        work_dir=str(work_dir),
        train_dataloader=loader_of(shuffle=True),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        # Weights without a gradient must not decay either, nor move by their momentum.
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.01),
            clip_grad=dict(max_norm=1),
        ),
        custom_hooks=[hook, dict(type='RecordPaths')],
        randomness=dict(seed=0),
        # mmengine keeps one logger for all runs of a name.
        experiment_name=f'{Path(work_dir).name}-{time.time_ns()}',
    )
    return dict(cfg, **more)


def with_validation():
    cfg = {}
    for kind in ('val', 'test'):
        cfg[f'{kind}_dataloader'] = loader_of(shuffle=False)
        cfg[f'{kind}_cfg'] = dict()
        cfg[f'{kind}_evaluator'] = dict(type='SeenPaths')
    return cfg


def run(work_dir, **options):
    runner = Runner(**config_of(work_dir, **options))
    runner.train()
    (record,) = (hook for hook in runner.hooks if isinstance(hook, RecordPaths))
    return runner, record


def test_each_iteration_trains_the_path_drawn_for_it(tmp_path):
    """Three epochs of 12 iterations; what is off the path keeps its weights exactly."""
    _, record = run(tmp_path)
    assert record.paths == [drawn_path(iteration) for iteration in range(3 * ITERATIONS)]
    assert len(set(record.paths)) == 9
    assert record.trained == [on_path(path) for path in record.paths]


def test_resumed_training_goes_on_with_the_same_paths(tmp_path):
    whole, record = run(tmp_path / 'whole', epochs=2)
    run(tmp_path / 'parts', epochs=1)
    resumed, rest = run(tmp_path / 'parts', epochs=2, resume=True)
    assert record.paths[ITERATIONS:] == rest.paths
    assert len(rest.paths) == ITERATIONS
    first, second = weights_of(whole.model), weights_of(resumed.model)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_chooses_the_paths(tmp_path):
    runner = Runner(**config_of(tmp_path, epochs=1))
    hook = PathSamplingHook(seed=7)
    hook.before_train_iter(runner, 0)
    assert path_of(runner.model) == drawn_path(0, seed=7)
    assert drawn_path(0, seed=7) != drawn_path(0)


@pytest.mark.parametrize(('hook', 'path'), [({}, (2, 1)), ({'val_path': [4, 3]}, (4, 3))])
def test_validation_and_test_run_one_path(tmp_path, hook, path):
    """That of the plain network, or the one that was asked for; it is logged."""
    runner, record = run(tmp_path, epochs=1, hook=hook, **with_validation())
    assert record.paths == [drawn_path(iteration) for iteration in range(ITERATIONS)]
    assert SeenPaths.seen == [path] * ITERATIONS
    SeenPaths.seen = None
    runner.test()
    assert SeenPaths.seen == [path] * ITERATIONS
    (log,) = tmp_path.rglob('*.log')
    told = f'Path of the supernet that is evaluated: {list(path)}'
    assert log.read_text().count(told) == 2


@pytest.mark.parametrize(
    ('val_path', 'message'),
    [([3, 1], r'stage: 3 is not among the choices \(1, 2, 4\)'), ([2], 'has 2 entries, got')],
)
def test_impossible_validation_path_stops_the_run_before_it_starts(tmp_path, val_path, message):
    runner = Runner(**config_of(tmp_path, hook={'val_path': val_path}))
    before = weights_of(runner.model)
    with pytest.raises(ValueError, match=message):
        runner.train()
    after = weights_of(runner.model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_model_without_choices_is_refused(tmp_path):
    runner = Runner(**config_of(tmp_path))
    runner.model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match='Linear has no choices'):
        PathSamplingHook().before_run(runner)


def test_config_finds_the_hook_by_both_names():
    assert HOOKS.get('PathSamplingHook') is PathSamplingHook
    assert HOOKS.get('mmic.PathSamplingHook') is PathSamplingHook


def test_two_processes_train_the_same_paths_to_the_same_weights(tmp_path):
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    python_path = os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])
    run_command(sys.executable, __file__, tmp_path, port, PYTHONPATH=python_path)
    first, second = (torch.load(tmp_path / f'rank_{rank}.pth') for rank in range(2))
    assert first['paths'] == [drawn_path(iteration) for iteration in range(3 * ITERATIONS // 2)]
    assert first['paths'] == second['paths']
    assert first['trained'] == second['trained'] == [on_path(path) for path in first['paths']]
    # Each has images of its own.
    assert not set(first['images']) & set(second['images'])
    for name, value in first['weights'].items():
        assert torch.equal(value, second['weights'][name]), name


def train_as_one_of_two(rank, folder, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    cfg = Config(config_of(folder, find_unused_parameters=True, launcher='pytorch'))
    start_processes_without_gpu(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    (record,) = (hook for hook in runner.hooks if isinstance(hook, RecordPaths))
    result = {'paths': record.paths, 'trained': record.trained}
    result['weights'] = weights_of(runner.model)
    result['images'] = list(runner.train_dataloader.sampler)
    torch.save(result, Path(folder) / f'rank_{rank}.pth')
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    torch.set_num_threads(1)
    # Forked, so that one import serves both.
    torch.multiprocessing.start_processes(
        train_as_one_of_two, args=tuple(sys.argv[1:]), nprocs=2, start_method='fork'
    )
