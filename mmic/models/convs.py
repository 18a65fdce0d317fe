"""The convolutions under their config names, and networks in which they replace plain ones.

backbone=dict(type='ResNet', depth=50, conv_cfg=dict(type='DOConv2d'))
neck=dict(type='mmic.build_swapped', model=dict(type='mmdet.FPN', ...), conv=dict(type='PSConv2d'))
"""

from torch import nn

from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.models.selection import is_3x3, searched_convs, selector
from mmic.registry import MODELS, register
from mmic.swap import named_convs, swap_convs

register(MODELS)(ICConv2d)
register(MODELS)(PSConv2d)
register(MODELS)(MaskedPSConv2d)

# DO-Conv replaces every convolution but the 1x1 ones (paper, section 5); the others need dilations
# to choose and replace the 3x3 ones.
SWAPS = {'DOConv2d': DOConv2d, 'PSConv2d': PSConv2d, 'MaskedPSConv2d': MaskedPSConv2d}


@register(MODELS, 'DOConv2d')
def build_do_conv(
    in_channels, out_channels, kernel_size, *args, d_mul=None, init='identity', **kwargs
):
    """Build a ``DOConv2d``, or a plain convolution where the kernel is 1x1.

    OpenMMLab's networks give one ``conv_cfg`` to all of their convolutions, 1x1 included.
    """
    if kernel_size in (1, (1, 1)):
        return nn.Conv2d(in_channels, out_channels, kernel_size, *args, **kwargs)
    options = {'d_mul': d_mul, 'init': init}
    return DOConv2d(in_channels, out_channels, kernel_size, *args, **kwargs, **options)


def is_not_1x1(name, conv):
    """DO-Conv's rule: every convolution but the 1x1 ones; offsets as in ``is_3x3``."""
    return tuple(conv.kernel_size) != (1, 1) and 'offset' not in name.rpartition('.')[2]


def to_swapped(model, conv, select=None):
    """Replace convolutions of a network by another kind, in place, weights kept.

    Args:
        model (nn.Module): Any network.
        conv (dict): ``type`` is ``'PSConv2d'``, ``'MaskedPSConv2d'`` or ``'DOConv2d'``; the rest
            are the layer's own arguments, ``pattern`` or ``d_mul`` for example.
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
    kind = options.pop('type').rpartition('.')[2]
    if kind not in SWAPS:
        raise ValueError(f'conv type must be one of {sorted(SWAPS)}, got {kind!r}.')
    default = is_not_1x1 if kind == 'DOConv2d' else is_3x3
    rule = select if callable(select) else (selector(select) if select else default)
    if kind != 'DOConv2d':
        searched_convs(model, rule)
    elif not any(rule(name, conv) for name, conv in named_convs(model)):
        raise ValueError('The choice of layers matches no convolution larger than 1x1.')

    def replace(name, conv):
        try:
            return SWAPS[kind].from_conv(conv, **options)
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
