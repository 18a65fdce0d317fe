"""What a supernet costs beside the plain network, in numbers and in words."""

import math
from typing import Any, Dict, Optional, Sequence

from mmengine.registry import MODELS
from torch import nn

from mmic.analysis.complexity import count_complexity
from mmic.analysis.plain import plain_config
from mmic.supernet import WideConv2d

# Under it the meta of a checkpoint and of a pattern file hold what a search cost.
KEY = 'search_cost'


def network_cost(
    model: nn.Module, cfg: dict, shape: Optional[Sequence[int]] = None
) -> Dict[str, Any]:
    """Count a supernet and the plain network that it stands for.

    Args:
        model: The supernet, without what distributed training wraps it in.
        cfg: Config of the supernet, from which the plain network is built.
        shape: Height and width of the image in pixels. Defaults to None: nothing is known of it,
            and multiply-adds are not counted.

    Returns:
        ``parameters`` and ``plain_parameters``; with a shape also ``shape``, and ``macs`` and
        ``plain_macs``, the multiply-adds of one forward pass of one image. A network that cannot
        be run without values has ``not_counted`` in their place, the reason.
    """
    plain = MODELS.build(plain_config(cfg))
    cost: Dict[str, Any] = {
        'parameters': sum(parameter.numel() for parameter in model.parameters()),
        'plain_parameters': sum(parameter.numel() for parameter in plain.parameters()),
    }
    if shape is None:
        return cost
    try:
        macs = [count_complexity(network, shape).total_macs for network in (model, plain)]
    except ValueError as error:
        return {**cost, 'not_counted': str(error)}
    return {**cost, 'shape': list(shape), 'macs': macs[0], 'plain_macs': macs[1]}


def network_words(cost: Dict[str, Any]) -> str:
    """Say in one sentence what ``network_cost`` has counted."""
    words = '{:.2f} M parameters, {:.2f} times the plain network ({:.2f} M)'.format(
        cost['parameters'] / 1e6,
        cost['parameters'] / cost['plain_parameters'],
        cost['plain_parameters'] / 1e6,
    )
    if 'macs' in cost:
        words += '; {:.2f} G multiply-adds for an image of {} x {}, {:.2f} times ({:.2f} G)'.format(
            cost['macs'] / 1e9,
            *cost['shape'],
            cost['macs'] / cost['plain_macs'],
            cost['plain_macs'] / 1e9,
        )
    elif 'not_counted' in cost:
        words += f'; multiply-adds are not counted: {cost["not_counted"]}'
    return words


def training_words(cost: Dict[str, Any]) -> str:
    """Say in one sentence what the training of a supernet took, from ``SearchCostHook``."""
    devices = cost['devices']
    return (
        f'{cost["steps"]} steps in {duration(cost["seconds"])} on {devices} '
        f'device{"s" if devices > 1 else ""}, {cost["seconds"] * devices / 3600:.2f} device hours'
    )


def darts_share(model: nn.Module) -> Optional[float]:
    """Cost of EDO's supernet layers as a share of a DARTS-like search over the same dilations.

    Such a search computes each of the ``d_max ** 2`` candidates by a convolution of its own, of
    ``C_in * C_out * (2k + 1) ** 2 * d_max ** 2`` multiply-adds a pixel; EDO's layer takes
    ``C_in * C_out * (2k d_max + 1) ** 2``: 56 % for k = 1 and d_max = 4 (Liu et al., CVPR 2021,
    section 3.3). Layers of several kinds are summed up.

    Returns:
        None for a network without supernet layers of EDO.
    """
    convs = [module for module in model.modules() if isinstance(module, WideConv2d)]
    if not convs:
        return None
    filters = [conv.in_channels // conv.groups * conv.out_channels for conv in convs]
    wide = sum(n * math.prod(conv.kernel_size) for n, conv in zip(filters, convs))
    apart = sum(n * (conv.base_kernel_size * conv.d_max) ** 2 for n, conv in zip(filters, convs))
    return wide / apart


def saved_cost(checkpoint: Any) -> Dict[str, Any]:
    """Return what ``SearchCostHook`` has written into a checkpoint; empty if there is nothing."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    cost = meta.get(KEY) if isinstance(meta, dict) else None
    return dict(cost) if isinstance(cost, dict) else {}


def search_words(method: str, seconds: float, training: Dict[str, Any]) -> str:
    """Say what a search took, and the training before it where the checkpoint tells."""
    words = f'Search cost: {method} took {duration(seconds)}'
    if {'steps', 'seconds', 'devices'} <= training.keys():
        words += f'; the training of its supernet, {training_words(training)}'
    return words


def duration(seconds: float) -> str:
    """Write a time in its natural unit: ``12.3 s``, ``4.5 minutes`` or ``6.7 hours``."""
    for unit, length in (('hours', 3600), ('minutes', 60)):
        if seconds >= 1.5 * length:
            return f'{seconds / length:.1f} {unit}'
    return f'{seconds:.1f} s'
