"""The hook that tells what the training of a supernet costs, before most of it is spent."""

import math
import time
from typing import Any, Dict, Optional, Tuple

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmic.analysis.cost import KEY, duration, network_cost, network_words, training_words
from mmic.engine.path_sampling import supernet_of
from mmic.registry import HOOKS, register
from mmic.supernet import ChoiceConv2d, MixedConv2d, WideConv2d
from mmic.supernet.stage_branches import StageBranches

SUPERNET_LAYERS = (WideConv2d, MixedConv2d, ChoiceConv2d, StageBranches)
# The first step, which torch spends on preparations too, and those that are timed.
WARM_UP, TIMED = 1, 9


@register(HOOKS)
class SearchCostHook(Hook):
    """Logs what a search costs: at its start, after ten steps, and at its end.

    At the first step: parameters and multiply-adds of the supernet beside the plain network's (of
    a CR-NAS supernet, the multiply-adds are those of its default path). After ten steps: seconds a
    step, hours of the whole training and device hours. At the end: what it took. Every checkpoint
    has the numbers in ``meta['search_cost']``, from where the search commands take them into the
    pattern file. A resumed training counts on from there.

    ``tools/train.py`` adds it where the model holds supernet layers. In the config of another
    command: ``custom_hooks=[dict(type='SearchCostHook')]``.
    """

    # Before PathSamplingHook, while a supernet of CR-NAS still has its default path.
    priority = 'ABOVE_NORMAL'

    def __init__(self) -> None:
        self.cost: Dict[str, Any] = {}
        self.before = 0.0  # seconds of the runs that this one resumes
        self.times: list = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Count on where the resumed run has stopped."""
        if runner._resume:
            saved = checkpoint.get('meta', {}).get(KEY, {})
            self.before = float(saved.get('seconds', 0.0))

    def before_train(self, runner: Runner) -> None:
        self.start, self.first = time.perf_counter(), runner.iter
        self.cost = {'devices': get_world_size(), 'steps': 0, 'seconds': self.before}

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        if runner.iter > self.first or not is_main_process():
            return
        model = supernet_of(runner)
        cost = network_cost(model, runner.cfg.model, image_shape(model, data_batch))
        self.cost.update(cost)
        runner.logger.info(f'Search cost: the supernet has {network_words(cost)}')
        # Counting is no part of the training.
        self.start = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        if len(self.times) > TIMED:
            return
        done = runner.iter + 1 - self.first
        if done >= WARM_UP:
            self.times.append(time.perf_counter())
        if len(self.times) > TIMED:
            self._tell(runner)

    def _tell(self, runner: Runner) -> None:
        """Log the seconds a step, and what the whole training will take."""
        loop, iteration = runner.train_loop, runner.iter + 1
        timed = passes(loop, iteration) - passes(loop, iteration - TIMED)
        seconds = (self.times[-1] - self.times[0]) / timed
        total = passes(loop, loop.max_iters) * seconds
        step = (self.times[-1] - self.times[0]) / TIMED
        devices = self.cost['devices']
        self.cost.update(seconds_per_step=step, expected_seconds=total)
        runner.logger.info(
            f'Search cost: {step:.3f} s a step, mean of steps {WARM_UP + 1} to {WARM_UP + TIMED}; '
            f'{loop.max_iters} steps take {duration(total)} without validation, '
            f'{total * devices / 3600:.2f} device hours on {devices} '
            f'device{"s" if devices > 1 else ""}'
        )

    def _spent(self, runner: Runner, steps: int) -> Dict[str, Any]:
        seconds = self.before + time.perf_counter() - self.start
        return {**self.cost, 'steps': steps, 'seconds': round(seconds, 3)}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the numbers with the weights, for the search's command."""
        if self.cost:
            checkpoint['meta'][KEY] = self._spent(runner, checkpoint['meta']['iter'])

    def after_train(self, runner: Runner) -> None:
        self.cost = self._spent(runner, runner.iter)
        runner.logger.info(f'Search cost: training took {training_words(self.cost)}')


def passes(loop: Any, iteration: int) -> int:
    """Forward and backward passes of a loop's first steps.

    A step is one pass; of ``BilevelTrainLoop`` it is two once alpha is trained, which makes the
    first steps too cheap to judge the others by.
    """
    frozen = getattr(loop, 'freeze_epochs', None)
    if frozen is None:
        return iteration
    return iteration + max(0, iteration - frozen * len(loop.dataloader))


def image_shape(model: nn.Module, data_batch: Optional[dict]) -> Optional[Tuple[int, int]]:
    """Height and width that a batch has in the network, padded as its preprocessor pads it.

    Returns:
        None for a batch without images.
    """
    images = data_batch.get('inputs') if isinstance(data_batch, dict) else None
    try:
        sides = [[image.shape[axis] for image in images] for axis in (-2, -1)]
        height, width = map(max, sides)
    except (TypeError, AttributeError, IndexError, ValueError):
        return None
    divisor = getattr(getattr(model, 'data_preprocessor', None), 'pad_size_divisor', 1) or 1
    return tuple(math.ceil(side / divisor) * divisor for side in (height, width))


def add_search_cost(runner: Runner) -> None:
    """Let a runner tell what its training costs, if it trains a supernet and does not yet."""
    known = any(isinstance(hook, SearchCostHook) for hook in runner.hooks)
    layers = any(isinstance(module, SUPERNET_LAYERS) for module in supernet_of(runner).modules())
    if layers and not known:
        runner.register_hook(SearchCostHook())
