"""Convolutions of several dilations by Triton kernels on CUDA, one launch each (docs/kernels.md).

A layer keeps a table of its channels (``register_table``) and asks ``kernels_apply`` on each call;
where they do not, it computes as it does on a CPU. The environment variable ``MMIC_KERNELS=plain``
turns them off.
"""

import os

import torch

from mmic.compat import is_installed
from mmic.layers.base_conv import base_padding
from mmic.layers.kernels import tables
from mmic.layers.kernels.tables import classes_by_kernel, classes_by_output

__all__ = [
    'classes_by_kernel',
    'classes_by_output',
    'kernel_conv2d',
    'kernels_apply',
    'register_table',
]

CHOICES = ('auto', 'plain')
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Least channels of a group: Triton multiplies matrices of at least 16 rows and columns.
FEWEST = 16
# Ampere: what Triton supports, and the first with bfloat16 and tf32.
CAPABILITY = (8, 0)


def chosen():
    """What the environment variable ``MMIC_KERNELS`` says.

    Raises:
        ValueError: Neither ``'auto'`` nor ``'plain'``.
    """
    choice = os.environ.get('MMIC_KERNELS', 'auto')
    if choice not in CHOICES:
        raise ValueError(f'MMIC_KERNELS must be one of {CHOICES}, got {choice!r}.')
    return choice


# torch from 2.4 on registers operators written in Python; it brings Triton 3.
AVAILABLE = chosen() == 'auto' and hasattr(torch.library, 'custom_op') and is_installed('triton')
# Triton then runs its kernels in Python, on a CPU too.
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'

if AVAILABLE:
    from mmic.layers.kernels.ops import dilated_conv2d


@torch.compiler.assume_constant_result
def _suits(device):
    """Whether Triton runs on a device; one answer for a compiled program."""
    if device.type != 'cuda' or INTERPRETED:
        return INTERPRETED
    return torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= CAPABILITY


def register_table(layer, classes):
    """Keep a layer's table for the kernels, where there are any.

    Args:
        layer (nn.Conv2d): The layer.
        classes (Callable[[], Classes]): Gives its classes of channels.
    """
    layer._kernel_layout = None
    fewest = min(layer.in_channels, layer.out_channels) // layer.groups
    if AVAILABLE and fewest >= FEWEST:
        tables.register_table(layer, classes())


def _autocast_dtype(x):
    """The dtype that autocast computes a convolution of ``x`` in; None where it is off."""
    kind = x.device.type
    on = x.dtype != torch.float64 and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def kernels_apply(layer, x, weight):
    """Whether ``kernel_conv2d`` can compute a layer's output.

    Not for other dtypes and devices, fewer than 16 channels in a group, a trace (in which tools
    count multiply-adds and ONNX files are written), and input that torch's own convolution has to
    refuse.

    Args:
        layer (nn.Conv2d): After ``register_table``.
        x (Tensor): Its input.
        weight (Tensor): Its weight, or one in its place.
    """
    if layer._kernel_layout is None or torch.jit.is_tracing() or not _suits(x.device):
        return False
    dtype = _autocast_dtype(x)
    if (dtype or x.dtype) not in DTYPES or (dtype is None and weight.dtype != x.dtype):
        return False
    if weight.device != x.device:
        return False
    if x.dim() != 4 or x.shape[1] != layer.in_channels or weight.shape != layer.weight.shape:
        return False
    padding = base_padding(layer.kernel_size, layer.padding)
    sides = zip(x.shape[2:], padding, layer.kernel_size)
    return all(side + 2 * pad >= kernel for side, pad, kernel in sides)


def kernel_conv2d(layer, x, weight, bias):
    """Compute a layer by one kernel launch; so are its gradients.

    Args:
        layer (nn.Conv2d): One that ``kernels_apply`` to.
        x (Tensor): Shape (N, C_in, H, W). channels_last is what the kernels read; other input
            is copied.
        weight (Tensor): Of the layer's weight's shape.
        bias (Tensor | None): Shape (C_out,).

    Returns:
        Tensor: Shape (N, C_out, H', W'), channels_last if ``x`` is.
    """
    dtype = _autocast_dtype(x)
    if dtype is not None:
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    padding = base_padding(layer.kernel_size, layer.padding)
    table, layout = layer.table('kernels', x.device), layer._kernel_layout
    return dilated_conv2d(x, weight, bias, table, layout, layer.stride, padding)
