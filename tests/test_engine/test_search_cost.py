"""What a search costs is told at its start, after ten steps and at its end, and kept."""

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from mmic.analysis.cost import duration, network_cost, network_words
from mmic.engine import search_cost
from mmic.engine.search_cost import add_search_cost, image_shape, passes

STEPS, SECONDS = 12, 2.0
# 3 to 4 channels without bias: 3x3, and 5x5 for d_max 2; one multiply-add a weight and pixel.
PLAIN, WIDE, PIXELS = 3 * 4 * 9, 3 * 4 * 25, 8 * 6


class Clock:
    """Stands for ``time``; one step of training takes ``SECONDS``."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(search_cost, 'time', clock)
    return clock


@pytest.fixture(autouse=True)
def _networks(clock):
    """A network of one convolution, registered for the time of a test."""

    class CostBackbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(x)

    class CostModel(BaseModel):
        def __init__(self, backbone, data_preprocessor=None):
            super().__init__(data_preprocessor)
            self.backbone = MODELS.build(backbone)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode == 'loss':
                clock.now += SECONDS
            output = self.backbone(torch.stack(list(inputs)) if mode == 'loss' else inputs)
            return {'loss': output.square().mean()} if mode == 'loss' else output

    with pytest.MonkeyPatch.context() as patch:
        for network in (CostBackbone, CostModel):
            patch.setitem(MODELS._module_dict, network.__name__, network)
        yield


def config(folder, backbone=None, **changes):
    plain = dict(type='CostBackbone')
    searched = dict(type='build_supernet', model=plain, d_max=2)
    return Config(
        dict(
            model=dict(type='CostModel', backbone=backbone or searched),
            work_dir=str(folder),
            train_dataloader=dict(
                batch_size=1,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=[dict(inputs=torch.zeros(3, 8, 6))] * (STEPS // 2),
                collate_fn=dict(type='pseudo_collate'),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            **changes,
        )
    )


def train(cfg, capture):
    """Train as ``tools/train.py`` does; return the lines on costs."""
    runner = Runner.from_cfg(cfg)
    add_search_cost(runner)
    capture.readouterr()
    runner.train()
    done = capture.readouterr()
    return re.findall(r'Search cost: (.*)', done.out + done.err)


def test_costs_are_told_before_they_are_spent(tmp_path, capfd):
    lines = train(config(tmp_path, experiment_name='told'), capfd)
    assert len(lines) == 3
    assert lines[0] == (
        f'the supernet has 0.00 M parameters, {WIDE / PLAIN:.2f} times the plain network '
        f'(0.00 M); 0.00 G multiply-adds for an image of 8 x 6, {WIDE / PLAIN:.2f} times (0.00 G)'
    )
    assert lines[1].startswith(f'{SECONDS:.3f} s a step, mean of steps 2 to 10; {STEPS} steps')
    assert f'take {SECONDS * STEPS:.1f} s without validation' in lines[1]
    hours = SECONDS * STEPS / 3600
    assert lines[2] == (
        f'training took {STEPS} steps in {SECONDS * STEPS:.1f} s on 1 device, '
        f'{hours:.2f} device hours'
    )


def test_checkpoint_keeps_the_numbers(tmp_path, capfd):
    train(config(tmp_path, experiment_name='kept'), capfd)
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)['meta']['search_cost']
    assert saved == dict(
        parameters=WIDE,
        plain_parameters=PLAIN,
        macs=WIDE * PIXELS,
        plain_macs=PLAIN * PIXELS,
        shape=[8, 6],
        devices=1,
        steps=STEPS,
        seconds=STEPS * SECONDS,
        seconds_per_step=SECONDS,
        expected_seconds=STEPS * SECONDS,
    )


def test_resumed_training_counts_on(tmp_path, capfd):
    cfg = config(tmp_path, experiment_name='first')
    cfg.train_cfg.max_epochs = 1
    train(cfg, capfd)
    cfg = config(tmp_path, experiment_name='second', resume=True)
    lines = train(cfg, capfd)
    assert f'training took {STEPS} steps in {STEPS * SECONDS:.1f} s' in lines[-1]


def test_plain_network_is_no_search(tmp_path, capfd):
    cfg = config(tmp_path, dict(type='CostBackbone'), experiment_name='plain')
    assert train(cfg, capfd) == []


def test_steps_of_alpha_count_as_a_second_pass():
    """10 epochs of 100 steps of weights, with as many of alpha in the last 6."""
    loop = SimpleNamespace(freeze_epochs=4, dataloader=range(100), max_iters=1000)
    assert [passes(loop, step) for step in (10, 400, 401, 1000)] == [10, 400, 402, 1600]
    assert passes(SimpleNamespace(max_iters=9), 7) == 7


@pytest.mark.parametrize(
    ('batch', 'shape'),
    [
        (dict(inputs=[torch.zeros(3, 30, 64), torch.zeros(3, 33, 10)]), (64, 64)),
        (dict(inputs=torch.zeros(2, 3, 32, 64)), (32, 64)),
        (dict(inputs=[dict()]), None),
        (dict(), None),
        (None, None),
    ],
)
def test_shape_is_that_of_the_padded_batch(batch, shape):
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(pad_size_divisor=32))
    assert image_shape(model, batch) == shape


def test_network_that_cannot_be_counted_says_why():
    cfg = config('work_dirs').model
    model = MODELS.build(cfg)
    model.backbone.conv.forward = lambda x: x.item()
    cost = network_cost(model, cfg, (8, 8))
    assert cost['parameters'] == WIDE
    assert 'macs' not in cost
    assert 'multiply-adds are not counted: CostModel cannot be run' in network_words(cost)


@pytest.mark.parametrize(
    ('seconds', 'words'), [(3, '3.0 s'), (90, '1.5 minutes'), (5400, '1.5 hours')]
)
def test_time_is_told_in_its_natural_unit(seconds, words):
    assert duration(seconds) == words
