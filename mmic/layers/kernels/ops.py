"""The convolution and its two gradients as operators of torch, one Triton launch each.

Registered with ``torch.library``, so that autograd, torch.compile and torch.export see them.
Output, input and weight stand in one trilinear form, so that the derivatives of each operator are
the other two: gradients of any order run the same kernels.
"""

from typing import List, Optional

import torch
from torch import Tensor
from torch.library import custom_op

from mmic.layers.kernels.tables import Layout

# launch.py is imported where it is called, since Triton takes time to import.


@custom_op('mmic::dilated_conv2d', mutates_args=())
def dilated_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    table: Tensor,
    layout: List[int],
    stride: List[int],
    padding: List[int],
) -> Tensor:
    """Convolution with a dilation for each pair of classes of channels.

    Args:
        x (Tensor): Shape (N, C_in, H, W).
        weight (Tensor): Shape (C_out, C_in / groups, k, k), of ``x``'s dtype.
        bias (Tensor | None): Shape (C_out,).
        table (Tensor): From ``build_table``, int32, on ``x``'s device.
        layout (list[int]): Its ``Layout``.
        stride (list[int]): On both axes.
        padding (list[int]): Of the undilated convolution, on both axes.

    Returns:
        Tensor: Shape (N, C_out, H', W'), channels_last if ``x`` is.
    """
    from mmic.layers.kernels.launch import convolve

    result = _empty_output(x, weight, stride, padding)
    return convolve(x, weight, bias, result, table, Layout(*layout), stride, padding)


@custom_op('mmic::dilated_conv2d_input', mutates_args=())
def dilated_conv2d_input(
    grad: Tensor,
    weight: Tensor,
    table: Tensor,
    layout: List[int],
    stride: List[int],
    padding: List[int],
    size: List[int],
) -> Tensor:
    """Gradient of the input, from that of the output.

    Args:
        grad (Tensor): Shape (N, C_out, H', W').
        weight, table, layout, stride, padding: As of ``dilated_conv2d``.
        size (list[int]): The input's (N, C_in, H, W).

    Returns:
        Tensor: Of shape ``size``, channels_last if ``grad`` is.
    """
    from mmic.layers.kernels.launch import convolve

    result, plan = _empty(grad, size), Layout(*layout)
    return convolve(grad, weight, None, result, table, plan, stride, padding, transposed=True)


@custom_op('mmic::dilated_conv2d_weight', mutates_args=())
def dilated_conv2d_weight(
    grad: Tensor,
    x: Tensor,
    table: Tensor,
    layout: List[int],
    stride: List[int],
    padding: List[int],
    size: List[int],
) -> Tensor:
    """Gradient of the weight, from that of the output.

    Args:
        grad (Tensor): Shape (N, C_out, H', W').
        x, table, layout, stride, padding: As of ``dilated_conv2d``.
        size (list[int]): The weight's (C_out, C_in / groups, k, k).

    Returns:
        Tensor: Of shape ``size``, channels_last.
    """
    from mmic.layers.kernels.launch import weight_gradient

    return weight_gradient(grad, x, size, table, Layout(*layout), stride, padding)


def _empty(like, size):
    """An empty tensor, channels_last if ``like`` is."""
    form = torch.channels_last if like.stride(1) == 1 else torch.contiguous_format
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=form)


def _empty_output(x, weight, stride, padding):
    sides = [
        (side + 2 * pad - kernel) // step + 1
        for side, pad, kernel, step in zip(x.shape[2:], padding, weight.shape[2:], stride)
    ]
    return _empty(x, (x.shape[0], weight.shape[0], *sides))


@dilated_conv2d.register_fake
def _(x, weight, bias, table, layout, stride, padding):
    return _empty_output(x, weight, stride, padding)


@dilated_conv2d_input.register_fake
def _(grad, weight, table, layout, stride, padding, size):
    return _empty(grad, size)


@dilated_conv2d_weight.register_fake
def _(grad, x, table, layout, stride, padding, size):
    return torch.empty(
        size, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
    )


def _keep_conv(ctx, inputs, output):
    x, weight, _, table, *ctx.how = inputs
    ctx.save_for_backward(x, weight, table)


def _keep_gradient(ctx, inputs, output):
    grad, other, table, *ctx.how, _ = inputs
    ctx.save_for_backward(grad, other, table)


def _conv_backward(ctx, grad):
    x, weight, table = ctx.saved_tensors
    for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
    return (
        dilated_conv2d_input(grad, weight, table, *ctx.how, x.shape) if for_x else None,
        dilated_conv2d_weight(grad, x, table, *ctx.how, weight.shape) if for_weight else None,
        grad.sum((0, 2, 3)) if for_bias else None,
        *[None] * 4,
    )


def _input_backward(ctx, x):
    grad, weight, table = ctx.saved_tensors
    for_grad, for_weight = ctx.needs_input_grad[:2]
    return (
        dilated_conv2d(x, weight, None, table, *ctx.how) if for_grad else None,
        dilated_conv2d_weight(grad, x, table, *ctx.how, weight.shape) if for_weight else None,
        *[None] * 5,
    )


def _weight_backward(ctx, weight):
    grad, x, table = ctx.saved_tensors
    for_grad, for_x = ctx.needs_input_grad[:2]
    return (
        dilated_conv2d(x, weight, None, table, *ctx.how) if for_grad else None,
        dilated_conv2d_input(grad, weight, table, *ctx.how, x.shape) if for_x else None,
        *[None] * 5,
    )


dilated_conv2d.register_autograd(_conv_backward, setup_context=_keep_conv)
dilated_conv2d_input.register_autograd(_input_backward, setup_context=_keep_gradient)
dilated_conv2d_weight.register_autograd(_weight_backward, setup_context=_keep_gradient)
