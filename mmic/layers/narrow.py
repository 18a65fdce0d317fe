"""Convolutions of few output channels each, computed together where that is faster.

The convolutions of torch pay for a vector of output channels, 16 of them, however few there are,
and many a dilation of an IC layer has two or three. On a CPU with numba installed these are
computed by loops along the image instead (``narrow_jit``).
"""

import itertools
from typing import NamedTuple, Optional, Tuple

import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from mmic.layers.eager import has_memory, is_traced
from mmic.layers.fold import HAS_NUMBA

# Measured: where the compiled form is faster than the operator of torch, and what it costs, as a
# part of what torch takes for a vector of output channels.
VECTOR = 16
LEAST_WIDTH = 24
MOST_CHANNELS = 12
COST_OF_FOUR = 0.3
COST_OF_COPY = 0.9


class Conv(NamedTuple):
    """What a convolution of one dilation takes besides its input; it has one group.

    Attributes:
        weight (Tensor): (C_out, C_in, k_h, k_w).
        bias (Tensor | None): (C_out,).
        stride (tuple[int, int]): On both axes.
        padding (tuple[int, int]): (p_h, p_w).
        dilation (tuple[int, int]): (d_h, d_w).
    """

    weight: torch.Tensor
    bias: Optional[torch.Tensor]
    stride: Tuple[int, int]
    padding: Tuple[int, int]
    dilation: Tuple[int, int]


def narrow_conv2d(x, convs):
    """Compute convolutions of one input, those of few output channels together.

    Args:
        x (Tensor): Shape (N, C_in, H, W), the input of all of them.
        convs (list[Conv]): All give outputs of the same height and width.

    Returns:
        Tensor | None: Their outputs, concatenated, (N, C_out, H', W'), channels_last if ``x`` or
        the weight is. None where torch's operator alone is as fast, or is wanted, as in programs
        that torch traces.
    """
    if len(convs) < 2 or not _compiled_applies(x, convs[0]):
        return None
    if not torch.is_grad_enabled():  # gradients of more parts would cost more
        convs = [part for conv in convs for part in _split(conv)]
    narrow = [_is_narrow(x, conv) for conv in convs]
    chosen = list(itertools.compress(convs, narrow))
    # The input is copied once for all of them.
    costs = [COST_OF_FOUR * -(-len(conv.weight) // 4) for conv in chosen]
    if sum(costs) + COST_OF_COPY > len(chosen):
        return None
    weights, biases, _, paddings, dilations = zip(*chosen)
    bias = None if biases[0] is None else torch.cat(biases)
    joined = _Narrow.apply(x, bias, dilations, paddings, *weights)
    # Narrow ones that follow each other stay together.
    groups = [(few, [conv for _, conv in group]) for few, group in _runs(narrow, convs)]
    sizes = [sum(len(conv.weight) for conv in group) for few, group in groups if few]
    ready, outputs = iter(joined.split(sizes, 1)), []
    for few, group in groups:
        outputs += [next(ready)] if few else [_plain(x, conv) for conv in group]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)


def _runs(narrow, convs):
    return itertools.groupby(zip(narrow, convs), key=lambda pair: pair[0])


def _plain(x, conv):
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation)


def _split(conv):
    """A convolution as one of full vectors of output channels and one of the few beyond."""
    rest = len(conv.weight) % VECTOR
    if len(conv.weight) < VECTOR or not 0 < rest <= MOST_CHANNELS:
        return [conv]
    sizes = [len(conv.weight) - rest, rest]
    biases = (None, None) if conv.bias is None else conv.bias.split(sizes)
    return [
        conv._replace(weight=weight, bias=bias)
        for weight, bias in zip(conv.weight.split(sizes), biases)
    ]


def _compiled_applies(x, conv):
    if not HAS_NUMBA or is_traced():
        return False
    # Those look at operators of torch, or have to: counters, torch.func, forward-mode derivatives.
    if (
        torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    ):
        return False
    tensors = [tensor for tensor in (x, conv.weight, conv.bias) if tensor is not None]
    return x.dim() == 4 and all(_is_plain(tensor) for tensor in tensors) and not _autocasts()


def _autocasts():
    if hasattr(torch, 'get_autocast_dtype'):
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()  # torch before 2.4


def _is_plain(tensor):
    return has_memory(tensor) and tensor.device.type == 'cpu' and tensor.dtype == torch.float32


def _is_narrow(x, conv):
    channels, *kernel = conv.weight.shape[1:]
    if channels != x.shape[1] or kernel != [3, 3] or tuple(conv.stride) != (1, 1):
        return False
    height, width = _output_size(x, conv.dilation, conv.padding)
    return len(conv.weight) <= MOST_CHANNELS and height > 0 and width >= LEAST_WIDTH


def _output_size(x, dilation, padding):
    return [size + 2 * (p - d) for size, d, p in zip(x.shape[2:], dilation, padding)]


def _is_channels_last(tensor):
    last = tensor.is_contiguous(memory_format=torch.channels_last)
    return last and not tensor.is_contiguous()


class _Narrow(torch.autograd.Function):
    """The outputs of several convolutions, concatenated; gradients are made by torch's operator."""

    @staticmethod
    def forward(ctx, x, bias, dilations, paddings, *weights):
        from mmic.layers import narrow_jit

        ctx.save_for_backward(x, *weights)
        ctx.dilations, ctx.paddings = dilations, paddings
        channels = sum(map(len, weights))
        last = _is_channels_last(x) or _is_channels_last(weights[0])
        result = torch.empty(
            (len(x), channels, *_output_size(x, dilations[0], paddings[0])),
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )
        bias = torch.zeros(channels) if bias is None else bias
        narrow_jit.conv2d(x, weights, bias, dilations, paddings, result)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, *weights = ctx.saved_tensors
        for_x, for_bias, _, _, *for_weights = ctx.needs_input_grad
        grad_x, grad_weights = None, []
        grads = grad.split([len(weight) for weight in weights], 1)
        settings = zip(ctx.dilations, ctx.paddings)
        for part, weight, (dilation, padding), needed in zip(grads, weights, settings, for_weights):
            # Differentiable itself.
            part_x, part_weight, _ = torch.ops.aten.convolution_backward(
                part, x, weight, None, (1, 1), padding, dilation, False, (0, 0), 1,
                (for_x, needed, False),
            )  # fmt: skip
            if for_x:
                grad_x = part_x if grad_x is None else grad_x + part_x
            grad_weights.append(part_weight)
        grad_bias = grad.sum((0, 2, 3)) if for_bias else None
        return (grad_x, grad_bias, None, None, *grad_weights)
