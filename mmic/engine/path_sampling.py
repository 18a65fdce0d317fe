"""The hook that trains a single-path supernet: another path in each iteration."""

import random

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmic.registry import HOOKS, register
from mmic.supernet.paths import check_path, default_path, sample_path, set_path


@register(HOOKS)
class PathSamplingHook(Hook):
    """Draws a path before each training iteration and sets one for validation.

    Uniform sampling (CR-NAS, section 3.3.1, after Guo et al., "Single Path One-Shot"). The path
    depends on the seed and the iteration alone, so that all processes train the same one and a
    resumed run goes on with those that it would have drawn. In several processes the config needs
    ``find_unused_parameters=True``: what is off the path gets no gradient.

    Args:
        seed (int): Defaults to 0.
        val_path (Sequence[int], optional): The path that is validated and tested:
            ``stage_blocks``, or ``dilations`` per block. Defaults to None: the plain network's.

    Raises:
        ValueError: Before the run starts, when the model is no supernet or has no such path.
    """

    def __init__(self, seed=0, val_path=None):
        self.seed = seed
        self.val_path = val_path

    def before_run(self, runner):
        model = supernet_of(runner)
        if self.val_path is None:
            self.val_path = default_path(model)
        check_path(model, self.val_path)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = supernet_of(runner)
        set_path(model, sample_path(model, random.Random(f'{self.seed}-{runner.iter}')))

    def before_val(self, runner):
        set_path(supernet_of(runner), self.val_path)
        runner.logger.info(f'Path of the supernet that is evaluated: {list(self.val_path)}')

    before_test = before_val


def supernet_of(runner):
    """The model of a runner, without what distributed training wraps it in."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model
