"""What every convolution of mmic shares with the plain convolution it stands for."""

import copy

import torch
from torch import nn

from mmic.layers.own_conv import real_dilation


def base_padding(kernel_size, padding):
    """Return ``padding`` as two numbers; ``'same'`` and ``'valid'`` mean what they do in torch."""
    if padding == 'same':
        return tuple((size - 1) // 2 for size in kernel_size)
    if padding == 'valid':
        return (0, 0)
    return (padding, padding) if isinstance(padding, int) else tuple(padding)


def dilated_padding(kernel_size, padding, dilation):
    """Padding that gives a dilated convolution the output size of the undilated one.

    ``pad(d) = p + r (d - 1)`` per axis, with ``r = (kernel - 1) / 2``.
    """
    return tuple(
        pad + (size - 1) // 2 * (rate - 1)
        for size, pad, rate in zip(kernel_size, padding, dilation)
    )


def check_base_conv(kernel_size, dilation=1, padding_mode='zeros', name=''):
    """Raise unless dilations can be chosen for a convolution of this kind.

    Args:
        kernel_size (int | tuple[int, int]): Must be odd, square and larger than 1.
        dilation (int | tuple[int, int]): Must be 1: the choice is counted from there.
        padding_mode (str): Must be ``'zeros'``.
        name (str): The layer's name for the message.

    Returns:
        int: The kernel's side.

    Raises:
        ValueError: With the layer's name and the value received.
    """
    where = f'Convolution {name!r}: ' if name else ''
    sizes = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
    rates = (dilation,) * 2 if isinstance(dilation, int) else tuple(dilation)
    if sizes[0] != sizes[1] or sizes[0] % 2 == 0 or sizes[0] < 3:
        raise ValueError(
            f'{where}dilations can be chosen for square kernels of odd size from 3 up, '
            f'got kernel_size={sizes}.'
        )
    if rates != (1, 1):
        raise ValueError(
            f'{where}dilations are counted from a convolution of dilation 1, got '
            f'dilation={rates}; leave this layer out, or set its dilation to 1.'
        )
    if padding_mode != 'zeros':
        raise ValueError(f'{where}padding_mode must be "zeros", got {padding_mode!r}.')
    return sizes[0]


def build_like(layer_class, conv, **options):
    """Build a layer with a convolution's own arguments, device and dtype, and ``options``.

    Its weights are left as the class initialises them.

    Raises:
        ValueError: The convolution has several dilations of its own.
    """
    return layer_class(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        real_dilation(conv),
        conv.groups,
        conv.bias is not None,
        conv.padding_mode,
        conv.weight.device,
        conv.weight.dtype,
        **options,
    )


def undilated(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution of dilation 1 with the parameters and the output size of a dilated one.

    Args:
        conv (nn.Conv2d): Odd kernel. Its parameters are shared, not copied.

    Raises:
        ValueError: Its padding is smaller than what the dilation adds to the kernel on a side.
    """
    base = copy.copy(conv)
    base.dilation = (1, 1)
    if not isinstance(conv.padding, str):
        sides = zip(conv.padding, conv.dilation, conv.kernel_size)
        base.padding = tuple(pad - (rate - 1) * (size - 1) // 2 for pad, rate, size in sides)
    if conv.padding == 'valid' or (conv.padding != 'same' and min(base.padding) < 0):
        raise ValueError(
            f'dilations multiply those of a convolution whose padding covers them, got '
            f'dilation={conv.dilation} with padding={conv.padding!r}.'
        )
    return base


@torch.no_grad()
def copy_parameters(conv, layer):
    """Copy the parameters of a convolution that a layer has too, in the same shape."""
    mine = dict(layer.named_parameters())
    for name, parameter in conv.named_parameters():
        if name in mine and mine[name].shape == parameter.shape:
            mine[name].copy_(parameter)
    return layer
