"""The weighted sum of dilated convolutions, as few convolutions with merged kernels.

A convolution is linear in its kernel, so ``sum_g s_g * conv(x, w_g)`` is one convolution with
the kernel ``sum_g s_g * embed(w_g)``. For the backward pass only ``x`` and the parameters are
kept: the merged kernels are made again, and the gradient of ``s_g`` follows from that of the
kernel, without candidate g's output.
"""

from typing import List, NamedTuple, Tuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from mmic.layers.base_conv import dilated_padding


class Part(NamedTuple):
    """Candidates that are merged into one kernel.

    Attributes:
        members (list[int]): Indices of the candidates.
        taps (list[tuple[slice, slice]]): Rows and columns of it that hold each member's taps.
        kernel_size (tuple[int, int]): Of the merged kernel.
        padding (tuple[int, int]): That keeps the undilated convolution's output size.
        dilation (tuple[int, int]): Of the merged kernel.
    """

    members: List[int]
    taps: List[Tuple[slice, slice]]
    kernel_size: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]


def merged_parts(candidates, kernel_size, padding):
    """Plan one dense kernel that holds all candidates.

    Args:
        candidates (list[tuple[int, int]]): ``(d_h, d_w)``.
        kernel_size (tuple[int, int]): Of the candidates.
        padding (tuple[int, int]): Of the undilated convolution.

    Returns:
        list[Part]
    """
    radius = [size // 2 for size in kernel_size]
    widest = [max(pair[axis] for pair in candidates) for axis in range(2)]
    taps = [
        tuple(
            slice(r * (top - rate), r * (top + rate) + 1, rate)
            for r, top, rate in zip(radius, widest, pair)
        )
        for pair in candidates
    ]
    size = tuple(2 * r * top + 1 for r, top in zip(radius, widest))
    spread = dilated_padding(kernel_size, padding, widest)
    return [Part(list(range(len(candidates))), taps, size, spread, (1, 1))]


def separate_parts(candidates, kernel_size, padding):
    """Plan a kernel for each candidate; arguments as of ``merged_parts``."""
    taps, size = [(slice(None), slice(None))], tuple(kernel_size)
    return [
        Part([member], taps, size, dilated_padding(kernel_size, padding, pair), pair)
        for member, pair in enumerate(candidates)
    ]


def cheapest_parts(candidates, kernel_size, padding):
    """Plan whichever of both has fewer multiply-adds; arguments as of ``merged_parts``."""
    merged = merged_parts(candidates, kernel_size, padding)
    area = merged[0].kernel_size[0] * merged[0].kernel_size[1]
    if area <= len(candidates) * kernel_size[0] * kernel_size[1]:
        return merged
    return separate_parts(candidates, kernel_size, padding)


def merge(part, scales, weights):
    """Build a part's kernel: (C_out, C_in / groups, *part.kernel_size).

    Args:
        part (Part): The plan.
        scales (Tensor): Of each output channel and candidate, (C_out, candidates).
        weights (Sequence[Tensor]): Of all candidates, (C_out, C_in / groups, k, k).
    """
    factors = scales[:, :, None, None, None]
    first = part.members[0]
    if part.members == [first] and weights[first].shape[2:] == part.kernel_size:
        return weights[first] * factors[:, first]
    kernel = weights[0].new_zeros(*weights[0].shape[:2], *part.kernel_size)
    for member, (rows, columns) in zip(part.members, part.taps):
        kernel[:, :, rows, columns].addcmul_(weights[member], factors[:, member])
    return kernel


class MergedConv2d(torch.autograd.Function):
    """``sum over g of scales[:, g] * conv2d(x, weights[g])``; see the module."""

    @staticmethod
    def forward(ctx, x, scales, bias, parts, stride, groups, *weights):
        ctx.save_for_backward(x, scales, *weights)
        ctx.parts, ctx.stride, ctx.groups, ctx.has_bias = parts, stride, groups, bias is not None
        output = None
        for part in parts:
            kernel = merge(part, scales, weights)
            y = F.conv2d(x, kernel, bias, stride, part.padding, part.dilation, groups)
            output, bias = y if output is None else output.add_(y), None
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, scales, *weights = ctx.saved_tensors
        # Under autocast the convolution ran in less precision than x and the weights have.
        seen, grad_x = x.to(grad.dtype), None
        grad_scales = torch.empty_like(scales)
        grad_weights = [None] * len(weights)
        for part in ctx.parts:
            places = (ctx.stride, part.padding, part.dilation, ctx.groups)
            if ctx.needs_input_grad[0]:
                kernel = merge(part, scales, weights).to(grad.dtype)
                more = conv2d_input(x.shape, kernel, grad, *places)
                grad_x = more if grad_x is None else grad_x.add_(more)
            size = (*weights[0].shape[:2], *part.kernel_size)
            grad_kernel = conv2d_weight(seen, size, grad, *places).to(scales.dtype)
            for member, (rows, columns) in zip(part.members, part.taps):
                taps = grad_kernel[:, :, rows, columns]
                grad_scales[:, member] = (taps * weights[member]).sum((1, 2, 3))
                grad_weights[member] = taps * scales[:, member, None, None, None]
        grad_bias = grad.sum((0, 2, 3)).to(scales.dtype) if ctx.has_bias else None
        if grad_x is not None:
            grad_x = grad_x.to(x.dtype)
        return (grad_x, grad_scales, grad_bias, None, None, None, *grad_weights)
