"""The bilevel training loop: weights on one split of the data, alpha on the other."""

import itertools

from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop

from mmic.datasets import check_disjoint
from mmic.registry import LOOPS, register


@register(LOOPS)
class BilevelTrainLoop(EpochBasedTrainLoop):
    """Alternates a step of the weights and a step of alpha.

    Peng et al., NeurIPS 2019, section 4.1; first order: alpha's gradient is that of its batch's
    loss at the weights as they are. An epoch is one pass over the weights' split. Alpha's split
    is drawn anew in each epoch, and again where it is the shorter one.

    It needs ``optim_wrapper=dict(constructor='BilevelOptimWrapperConstructor', ...)``, and
    ``param_scheduler`` either as ``dict(weights=[...], alpha=[...])`` or as a list, which then
    goes for both.

    Args:
        runner (Runner): mmengine's.
        dataloader (DataLoader | dict): Of the weights' split, the config's ``train_dataloader``.
        max_epochs (int): Epochs of the search (paper: 25).
        alpha_dataloader (dict): Config of the data loader of alpha's split.
        freeze_epochs (int): Epochs before alpha's first step (paper: 10). Defaults to 10.
        **kwargs: ``val_begin``, ``val_interval``, ``dynamic_intervals`` as of mmengine's loop.

    Raises:
        ValueError: The splits share images, alpha's is empty, or no epoch would train alpha.
    """

    def __init__(
        self, runner, dataloader, max_epochs, alpha_dataloader, freeze_epochs=10, **kwargs
    ):
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        if not 0 <= freeze_epochs < max_epochs:
            raise ValueError(
                f'freeze_epochs must be from 0 to max_epochs - 1 = {max_epochs - 1}, got '
                f'{freeze_epochs}: alpha would never be trained.'
            )
        self.freeze_epochs = freeze_epochs
        different = runner._randomness_cfg.get('diff_rank_seed', False)
        self.alpha_dataloader = runner.build_dataloader(
            alpha_dataloader, seed=runner.seed, diff_rank_seed=different
        )
        if not len(self.alpha_dataloader):
            raise ValueError("alpha_dataloader: there are no batches in alpha's split.")
        check_disjoint(
            image_paths(self.dataloader.dataset),
            image_paths(self.alpha_dataloader.dataset),
            'train_dataloader (weights)',
            'alpha_dataloader',
        )

    def run(self):
        """Train, with gradient accumulation counted for each optimizer."""
        wrappers = self.runner.optim_wrapper
        if not isinstance(wrappers, OptimWrapperDict) or 'alpha' not in wrappers:
            raise ValueError(
                'BilevelTrainLoop needs an optimizer for alpha: set '
                "optim_wrapper.constructor='BilevelOptimWrapperConstructor'."
            )
        frozen = self.freeze_epochs * len(self.dataloader)
        wrappers['weights'].initialize_count_status(self.runner.model, self._iter, self._max_iters)
        wrappers['alpha'].initialize_count_status(
            self.runner.model, max(0, self._iter - frozen), self._max_iters - frozen
        )
        return super().run()

    def run_epoch(self):
        """Pass over the weights' split once."""
        self._alpha_batches = self._draw_alpha_batches()
        super().run_epoch()

    def run_iter(self, idx, data_batch):
        """One step of the weights and, after the frozen epochs, one of alpha."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self._step('weights', data_batch)
        if self._epoch >= self.freeze_epochs:
            losses = self._step('alpha', next(self._alpha_batches))
            outputs = {**outputs, **{f'alpha_{name}': value for name, value in losses.items()}}
        self.runner.call_hook(
            'after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1

    def _step(self, name, data_batch):
        """One step of one optimizer, which leaves the other's gradients as they are.

        Those are not zero while the other accumulates gradients over several batches.
        """
        wrappers = self.runner.optim_wrapper
        others = [
            parameter
            for key, wrapper in wrappers.items()
            if key != name
            for group in wrapper.optimizer.param_groups
            for parameter in group['params']
        ]
        kept = [parameter.grad for parameter in others]
        for parameter in others:
            parameter.grad = None
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=wrappers[name])
        for parameter, gradient in zip(others, kept):
            parameter.grad = gradient
        return outputs

    def _draw_alpha_batches(self):
        """Batches of alpha's split for one epoch, in an order that depends on the epoch alone."""
        for turn in itertools.count():
            set_epoch(self.alpha_dataloader, self._epoch + turn * self._max_epochs)
            yield from self.alpha_dataloader


def set_epoch(dataloader, epoch):
    """Reseed a loader's sampler; mmengine's DistSamplerSeedHook does it for the main one only."""
    # Where batches are drawn by a batch sampler, the loader's own sampler is an unused default.
    for sampler in (dataloader.sampler, getattr(dataloader.batch_sampler, 'sampler', None)):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


def image_paths(dataset):
    """Paths of a dataset's images; empty for one that does not name them."""
    if not hasattr(dataset, 'get_data_info'):
        return []
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    return [info['img_path'] for info in infos if 'img_path' in info]
