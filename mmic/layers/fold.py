"""DO-Conv's kernel composition ``W' = D o W`` (Eq. 3), the fastest way that is at hand.

On a CPU with numba installed it is compiled (``fold_jit``); elsewhere, and in programs that torch
traces, it is a batched matrix product.
"""

import torch

from mmic.layers.eager import DTYPES, NotCompiled, give_up, has_compiled_code, may_compute


def compose(weight, depthwise, groups):
    """Fold W and D into one kernel: ``W'[o, i, t] = sum over k of D[t, k, c] * W[o, i, k]``.

    Args:
        weight (Tensor): W, (C_out, C_in / groups, d_mul).
        depthwise (Tensor): D, (M * N, d_mul, C_in).
        groups (int): Groups of the convolution; c is the i-th input channel of o's group.

    Returns:
        Tensor: W', (C_out, C_in / groups, M * N), its channels last in memory if W's are.
    """
    if _compiled_applies(weight, depthwise):
        return _Fold.apply(weight, depthwise, groups)
    return _fold_by_product(weight, depthwise, groups)


def _compiled_applies(*tensors):
    return (
        may_compute(*tensors)
        and all(tensor.dtype in DTYPES for tensor in tensors)
        and has_compiled_code()
    )


def _fold_by_product(weight, depthwise, groups):
    out_channels, depth, d_mul = weight.shape
    # (g, C_out / g, C_in / g, d_mul) -> (C_in, C_out / g, d_mul): each group meets its own D.
    w = weight.reshape(groups, -1, depth, d_mul).transpose(1, 2).reshape(groups * depth, -1, d_mul)
    kernel = torch.bmm(w, depthwise.permute(2, 1, 0))  # (C_in, C_out / g, M * N)
    kernel = kernel.reshape(groups, depth, -1, kernel.shape[-1]).transpose(1, 2)
    return kernel.reshape(out_channels, depth, -1)


def _depthwise_by_product(grad, weight, groups):
    """D's gradient, ``sum over o of W'[o, i, t] * W[o, i, k]``, (T, K, C_in)."""
    parts = [
        torch.einsum('oit,oik->tki', *pair)
        for pair in zip(grad.chunk(groups), weight.chunk(groups))
    ]
    return torch.cat(parts, 2)


# W, D and W' stand in one trilinear form: the derivatives of each function are the other's.


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, depthwise, groups):
        from mmic.layers import fold_jit

        ctx.groups = groups
        ctx.save_for_backward(weight, depthwise)
        out_channels, depth, _ = weight.shape
        taps = len(depthwise)
        if weight.stride(1) == 1 and depth > 1:
            result = weight.new_empty(out_channels, taps, depth).transpose(1, 2)
        else:
            result = weight.new_empty(out_channels, depth, taps)
        try:
            fold_jit.fold(weight, depthwise, result, groups)
        except NotCompiled as error:
            give_up(error)
            return _fold_by_product(weight, depthwise, groups)
        return result

    @staticmethod
    def backward(ctx, grad):
        weight, depthwise = ctx.saved_tensors
        for_weight, for_depthwise, _ = ctx.needs_input_grad
        return (
            _Fold.apply(grad, depthwise.transpose(0, 1), ctx.groups) if for_weight else None,
            _FoldDepthwise.apply(grad, weight, ctx.groups) if for_depthwise else None,
            None,
        )


class _FoldDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, grad, weight, groups):
        from mmic.layers import fold_jit

        ctx.groups = groups
        ctx.save_for_backward(grad, weight)
        sizes = grad.shape[2], weight.shape[2], weight.shape[1] * groups
        result = weight.new_empty(sizes)
        try:
            fold_jit.fold_depthwise(grad, weight, result, groups)
        except NotCompiled as error:
            give_up(error)
            return _depthwise_by_product(grad, weight, groups)
        return result

    @staticmethod
    def backward(ctx, depthwise):
        grad, weight = ctx.saved_tensors
        for_grad, for_weight, _ = ctx.needs_input_grad
        return (
            _Fold.apply(weight, depthwise, ctx.groups) if for_grad else None,
            _Fold.apply(grad, depthwise.transpose(0, 1), ctx.groups) if for_weight else None,
            None,
        )
