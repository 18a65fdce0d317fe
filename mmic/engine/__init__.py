"""Glue to mmengine: configs, loops, hooks, optimizers."""

from mmic.engine.hooks import NATSHook
from mmic.engine.loops import BilevelTrainLoop
from mmic.engine.metrics import build_crowdhuman_recall
from mmic.engine.optim import BilevelOptimWrapperConstructor
from mmic.engine.path_sampling import PathSamplingHook
from mmic.engine.search_cost import SearchCostHook

__all__ = [
    'BilevelOptimWrapperConstructor',
    'BilevelTrainLoop',
    'NATSHook',
    'PathSamplingHook',
    'SearchCostHook',
    'build_crowdhuman_recall',
]
