"""The convolutions under their config names, and networks in which they replace plain ones.

backbone=dict(type='ResNet', depth=50, conv_cfg=dict(type='DOConv2d'))
neck=dict(type='mmic.build_swapped', model=dict(type='mmdet.FPN', ...), conv=dict(type='PSConv2d'))
"""

import inspect
from typing import Any, Dict, Optional, Sequence, Tuple, Type, Union

from torch import nn

from mmic.layers import DOConv2d, MaskedPSConv2d, PSConv2d
from mmic.models.selection import is_3x3, nothing_chosen, searched_convs, selector
from mmic.registry import MODELS, register
from mmic.swap import named_convs, swap_convs

# DO-Conv replaces every convolution but the 1x1 ones (paper, section 5); the others need dilations
# to choose and replace the 3x3 ones.
SWAPS = {'DOConv2d': DOConv2d, 'PSConv2d': PSConv2d, 'MaskedPSConv2d': MaskedPSConv2d}


# What was registered before the class itself made 1x1 convolutions plain ones.
build_do_conv = DOConv2d


def is_not_1x1(name, conv):
    """DO-Conv's rule: every convolution but the 1x1 ones; offsets as in ``is_3x3``."""
    return tuple(conv.kernel_size) != (1, 1) and 'offset' not in name.rpartition('.')[2]


def swap_class(kind: Union[str, type]) -> Tuple[str, Type[nn.Conv2d]]:
    """Return the rule's name and the class of a config's ``type``, a name or the class itself.

    Raises:
        ValueError: Another type.
    """
    if inspect.isclass(kind):
        names = [name for name, layer in SWAPS.items() if issubclass(kind, layer)]
        # MaskedPSConv2d before its base.
        found = max(names, key=lambda name: len(SWAPS[name].__mro__), default=None)
    else:
        found = str(kind).rpartition('.')[2]
    if found not in SWAPS:
        told = kind.__name__ if inspect.isclass(kind) else kind
        raise ValueError(f'conv type must be one of {sorted(SWAPS)}, got {told!r}.')
    return found, kind if inspect.isclass(kind) else SWAPS[found]


def to_swapped(
    model: nn.Module, conv: Dict[str, Any], select: Optional[Union[str, Sequence[str]]] = None
) -> nn.Module:
    """Replace convolutions of a network by another kind, in place, weights kept.

    Args:
        model (nn.Module): Any network.
        conv (dict): ``type`` is ``'PSConv2d'``, ``'MaskedPSConv2d'`` or ``'DOConv2d'``, or one of
            these classes; the rest are the layer's own arguments, ``pattern`` or ``d_mul``.
        select (str | Sequence[str] | Callable, optional): Layers by regular expression, or a
            rule ``(name, conv) -> bool``. Defaults to None: all 3x3 convolutions; for DO-Conv
            all but 1x1.

    Returns:
        nn.Module: ``model``.

    Raises:
        ValueError: An unknown type, no layer chosen, or one that cannot be replaced; the
            message names it.
    """
    options = dict(conv)
    if 'type' not in options:
        raise ValueError(f'conv={conv!r} has no type; it must be one of {sorted(SWAPS)}.')
    kind, layer_class = swap_class(options.pop('type'))
    default = is_not_1x1 if kind == 'DOConv2d' else is_3x3
    rule = select if callable(select) else (selector(select) if select else default)
    if kind != 'DOConv2d':
        searched_convs(model, rule)
    elif not any(rule(name, conv) for name, conv in named_convs(model)):
        raise ValueError(nothing_chosen(model, rule))

    def replace(name, conv):
        try:
            return layer_class.from_conv(conv, **options)
        except ValueError as error:
            raise type(error)(f'Layer {name!r}: {error}') from None

    return swap_convs(model, replace, rule)


@register(MODELS)
def build_swapped(model, conv, select=None, **arguments):
    """Build a model and replace its convolutions by another kind, weights kept.

    Args:
        model (dict): Config of any model that OpenMMLab's registries build, one that takes no
            ``conv_cfg`` for example.
        conv (dict): See ``to_swapped``.
        select (str | Sequence[str], optional): See ``to_swapped``. Defaults to None.
        **arguments: Go to the model, over its config's own: a detector adds ``train_cfg``,
            ``test_cfg`` and ``num_classes`` to the config of its ``rpn_head``.

    Returns:
        nn.Module: The model.
    """
    return to_swapped(MODELS.build(dict(model, **arguments)), conv, select)
