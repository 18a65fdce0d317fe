"""Optimizers of a bilevel search: one for the weights, one for alpha."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS

from mmic.registry import OPTIM_WRAPPER_CONSTRUCTORS, register


@register(OPTIM_WRAPPER_CONSTRUCTORS)
class BilevelOptimWrapperConstructor:
    """Builds the host's optimizer for the weights, and one of its own for alpha.

    ``optimizer``, ``paramwise_cfg`` and all other settings are what they are without a search;
    both optimizers share the wrapper's type, gradient accumulation and clipping::

        optim_wrapper = dict(
            type='OptimWrapper',
            constructor='BilevelOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
            alpha_optimizer=dict(type='Adam', lr=0.01, weight_decay=1e-5))

    Args:
        optim_wrapper_cfg (dict): The config's ``optim_wrapper``. ``alpha_optimizer`` defaults to
            the paper's (NATS, section 4.1): Adam, learning rate 0.01, weight decay 1e-5.
        paramwise_cfg (dict, optional): Of the weights' optimizer.

    Raises:
        ValueError: The model has no alpha to train.
    """

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        default = dict(type='Adam', lr=0.01, weight_decay=1e-5)
        self.alpha_optimizer = dict(self.wrapper_cfg.pop('alpha_optimizer', default))
        self.paramwise_cfg = paramwise_cfg

    def __call__(self, model):
        """Build an ``OptimWrapperDict`` with the keys ``weights`` and ``alpha``."""
        alphas = [
            parameter
            for name, parameter in model.named_parameters()
            if name.rpartition('.')[2] == 'alpha' and parameter.requires_grad
        ]
        if not alphas:
            raise ValueError(
                'BilevelOptimWrapperConstructor: the model has no alpha to train. Is its backbone '
                'a NATS supernet (genotypes=...), and are the searched stages not frozen?'
            )
        # A copy: mmengine's constructor takes the optimizer's config apart.
        build = DefaultOptimWrapperConstructor(dict(self.wrapper_cfg), self.paramwise_cfg)
        weights = build(model)
        chosen = {id(parameter) for parameter in alphas}
        groups = weights.optimizer.param_groups
        for group in groups:
            group['params'] = [p for p in group['params'] if id(p) not in chosen]
        # With paramwise_cfg every parameter has a group of its own.
        groups[:] = [group for group in groups if group['params']]
        settings = {key: value for key, value in self.wrapper_cfg.items() if key != 'optimizer'}
        settings.setdefault('type', 'OptimWrapper')
        optimizer = OPTIMIZERS.build(dict(self.alpha_optimizer, params=alphas))
        alpha = OPTIM_WRAPPERS.build(dict(settings, optimizer=optimizer))
        return OptimWrapperDict(weights=weights, alpha=alpha)
