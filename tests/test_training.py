"""Training of searched networks: stopped and resumed, and in several processes."""

import signal
import sys

import numpy as np
import pytest
import torch
from helpers import (
    TOOLS,
    free_port,
    load_state,
    run_command,
    run_tool,
    write_detector_config,
    write_kill_hook,
)
from PIL import Image

from mmic.models import ICResNet
from mmic.pattern import DilationPattern, LayerPattern


def assert_equal_states(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_killed_and_resumed_training_ends_as_the_uninterrupted(toy_data, pattern, tmp_path):
    """3 epochs of 4 iterations, killed in the second epoch, after its second iteration.

    Momentum, warmup and running BN statistics have to be restored for it, and the images to
    come in the same order.
    """
    write_kill_hook(tmp_path)
    config = write_detector_config(
        tmp_path / 'searched.py',
        toy_data,
        "custom_imports = dict(imports=['mmic', 'kill_hook'], allow_failed_imports=False)\n"
        "custom_hooks = [dict(type='KillHook')]\n"
        'train_cfg.update(max_epochs=3)\n'
        'val_dataloader = val_evaluator = val_cfg = None\n',
        type='ICResNet',
        pattern=pattern.as_posix(),
    )

    def train(folder, *arguments, **options):
        options.update(PYTHONPATH=str(tmp_path))
        return run_tool('train.py', config, '--work-dir', folder, *arguments, **options)

    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    train(whole)
    printed = train(parts, KILL_BEFORE='6', code=-signal.SIGKILL)
    assert 'Epoch(train) [2][2/4]' in printed
    assert 'Epoch(train) [2][3/4]' not in printed
    assert [path.name for path in parts.glob('*.pth')] == ['epoch_1.pth']

    printed = train(parts, '--resume')
    assert 'resumed epoch: 1, iter: 4' in printed
    assert 'Epoch(train) [1]' not in printed
    first, last = load_state(whole / 'epoch_1.pth'), load_state(whole / 'epoch_3.pth')
    assert_equal_states(first, load_state(parts / 'epoch_1.pth'))
    assert_equal_states(last, load_state(parts / 'epoch_3.pth'))
    # The epochs after the kill changed every weight and statistic of the searched network.
    for name, value in last.items():
        if name.startswith('backbone.') and value.is_floating_point():
            assert not torch.equal(first[name], value), name


# The losses of a detector are divided by the positives of one process's images, so that the
# mean over processes is another number than the loss of all images at once. Cross-entropy is
# a mean over images: equal batches in all processes make the mean of means the mean.
CLASSIFIER = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmic'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.0] * 3, std=[64.0] * 3),
    # BN by fixed statistics: else it would depend on which images share a process.
    backbone=dict(
        type='ICResNet', depth=18, base_channels=8, out_indices=(3,), norm_eval=True,
        init_cfg=[dict(type='Kaiming', layer='Conv2d')], pattern='@PATTERN@'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=64))
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    # Process r of n gets every n-th image from the r-th on, so that a step's images are the
    # same ones however many processes share them.
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='@DATA@', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5))
randomness = dict(seed=0)
"""
STEPS = 10
BATCH = 4


@pytest.fixture
def classifier(tmp_path):
    """Config of a searched classifier, for 40 generated images of two classes."""
    rng = np.random.default_rng(0)
    for index in range(STEPS * BATCH):
        path = tmp_path / 'images' / f'class_{index % 2}' / f'{index:02d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 200, (32, 32, 3)) + 50 * (index % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    torch.manual_seed(0)
    network = ICResNet(depth=18, base_channels=8, d_max=1)
    layers = {
        name: LayerPattern(torch.randint(1, 3, (conv.out_channels, 2)), (3, 3), conv.in_channels)
        for name, conv in network.named_modules()
        if name.startswith('layer') and 'conv' in name
    }
    DilationPattern(layers, 'edo', 'backbone').save(tmp_path / 'pattern.json')
    config = tmp_path / 'classifier.py'
    text = CLASSIFIER.replace('@DATA@', (tmp_path / 'images').as_posix())
    config.write_text(text.replace('@PATTERN@', (tmp_path / 'pattern.json').as_posix()))
    return config


def test_two_processes_take_the_steps_of_one(classifier, tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    run_tool('train.py', classifier, '--work-dir', one)
    printed = run_command(
        *('bash', TOOLS / 'dist_train.sh', classifier, 2, '--work-dir', two),
        *('--cfg-options', f'train_dataloader.batch_size={BATCH // 2}'),
        PYTHON=sys.executable,
        PORT=str(free_port()),
    )
    # As many steps as one process takes: each process has half of a step's images.
    assert f'Epoch(train) [1][{STEPS}/{STEPS}]' in printed
    assert 'Distributed training: True' in printed
    halfway = load_state(one / 'iter_5.pth')
    alone, shared = load_state(one / 'iter_10.pth'), load_state(two / 'iter_10.pth')
    assert alone.keys() == shared.keys()
    for name, value in alone.items():
        # Without averaged gradients it is 1e-3 and more.
        apart = (value - shared[name]).abs()
        # Before the pooling, a maximum of two values that rounding tells apart may be the other
        # one, and one filter of the stem then gets another gradient.
        stem = name == 'backbone.conv1.weight'
        assert (apart.median() if stem else apart.max()) < 1e-5, name
        if name.endswith('conv2.weight'):
            assert (value - halfway[name]).abs().max() > 1e-3, name
