"""The training accuracy that the classification configs log is the right number."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmic.datasets.generated import make_generated
from mmic.engine.scalars import read_scalars
from mmic.engine.trial import trial_config

pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')

ROOT = Path(__file__).resolve().parents[2] / 'configs'
SMOOTHED = dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1)


class KeepGuesses(Hook):
    """Keeps, of each training iteration, how many images' largest score is their label's."""

    def __init__(self):
        self.right = []

    def before_train(self, runner):
        def keep(head, inputs, scores):
            if head.training:
                self.guesses = scores.argmax(1)

        runner.model.head.register_forward_hook(keep)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        labels = torch.cat([sample.gt_label for sample in data_batch['data_samples']])
        self.right.append((self.guesses.cpu() == labels.cpu()).float().mean().item())


@pytest.mark.parametrize('loss', [None, SMOOTHED])
def test_logged_accuracy_is_the_epoch_mean(tmp_path, loss):
    """Five iterations an epoch, logged after every second one and after the last."""
    data = make_generated(tmp_path / 'data', ['cifar10'], 10, 2)
    cfg = Config.fromfile(ROOT / 'do_conv/cifar/do-r20-v1_164e_cifar10.py')
    if loss:
        cfg.merge_from_dict(dict(model=dict(head=dict(loss=loss))))
    cfg = trial_config(cfg, data, num_train=10, epochs=2)
    cfg.default_hooks.logger.interval = 2
    cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'run'), randomness=dict(seed=0)))
    init_default_scope(cfg.default_scope)
    runner, kept = Runner.from_cfg(cfg), KeepGuesses()
    runner.register_hook(kept)
    runner.train()
    logged = [record for record in read_scalars(tmp_path / 'run') if 'accuracy_top-1' in record]
    assert [(record['epoch'], record['step']) for record in logged] == [
        *((1, step) for step in (2, 4, 5)),
        *((2, step) for step in (7, 9, 10)),
    ]
    assert len(kept.right) == 10
    assert len(set(kept.right)) > 1
    expected = [
        100 * sum(kept.right[first:last]) / (last - first)
        for first, ends in ((0, (2, 4, 5)), (5, (7, 9, 10)))
        for last in ends
    ]
    assert [record['accuracy_top-1'] for record in logged] == pytest.approx(expected)
