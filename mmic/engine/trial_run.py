"""Try a config: one training step and an evaluation on generated data."""

import hashlib
import inspect
import itertools
import json
import math
import time
from pathlib import Path

import mmengine
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from mmic.engine.stand_in import stand_in_patterns
from mmic.engine.trial import MAX_BATCH, drop_weights, trial_config
from mmic.version import __version__

IMAGE_SIZE = 64
CLOCKS = ('val/time', 'val/data_time')
RUNNER_ARGUMENTS = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
_numbers = itertools.count()


def digest_of(cfg):
    """What a trial depends on, as a short hash: the config as inherited, and the versions."""
    versions = __version__, torch.__version__, mmengine.__version__
    content = json.dumps([cfg.to_dict(), versions], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def try_config(cfg, data_root, work_dir):
    """Build a config's model, train it for one step, and evaluate it.

    Through mmengine's Runner, with the loops, hooks and metrics of the config, but without a
    checkpoint. Patterns that do not exist are made up, and weights that do not are random.

    Args:
        cfg (Config): Of a training, of any host package.
        data_root (str | Path): What ``make_generated`` made.
        work_dir (str | Path): For logs, and for patterns that are made up.

    Returns:
        dict[str, Any]: ``loss`` of the step, ``metrics`` of the evaluation, ``seconds``.

    Raises:
        ValueError: The loss is not finite, the evaluation gave no number, or not the one by
            which the config chooses its best checkpoint.
        Exception: Whatever the config's parts raise.
    """
    start = time.perf_counter()
    batch = min(cfg.train_dataloader.batch_size, MAX_BATCH)
    cfg = trial_config(cfg, data_root, num_train=batch, max_size=IMAGE_SIZE)
    drop_weights(cfg, lambda checkpoint: not Path(checkpoint).is_file())
    import_modules_from_strings(**cfg.get('custom_imports') or {'imports': []})
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    stand_in_patterns(cfg, Path(work_dir) / 'patterns')
    best = cfg.default_hooks.checkpoint.get('save_best')
    cfg.default_hooks.checkpoint = None
    # Not from_cfg: the Runner would lay out the whole config as text four times.
    arguments = {name: cfg[name] for name in RUNNER_ARGUMENTS if name in cfg}
    # Runners and visualizers of the same name share what they have recorded.
    name = f'trial_{next(_numbers)}'
    visualizer = dict(cfg.get('visualizer') or {'type': 'Visualizer'}, name=name, vis_backends=None)
    arguments.update(
        work_dir=str(work_dir),
        randomness=dict(seed=0),
        experiment_name=name,
        visualizer=visualizer,
    )
    runner = Runner(**arguments)
    runner.train()
    scalars = runner.message_hub.log_scalars
    loss = float(scalars['train/loss'].current())
    if not math.isfinite(loss):
        raise ValueError(f'The loss is {loss}.')
    metrics = {
        name[len('val/') :]: float(value.current())
        for name, value in scalars.items()
        if name.startswith('val/') and name not in CLOCKS
    }
    if not metrics:
        raise ValueError('The evaluation gave no number.')
    if best not in (None, 'auto', *metrics):
        raise ValueError(f'save_best is {best!r}; the evaluation gave {", ".join(metrics)}.')
    return dict(loss=loss, metrics=metrics, seconds=time.perf_counter() - start)
