"""Convolutions of many dilations in one piece of compiled code, on a CPU with numba installed.

torch computes a dilation by a convolution of its own, in whole vectors of output channels however
few the dilation has. ``winograd`` computes all of them together.
"""

import functools
from typing import List, NamedTuple, Tuple

import torch
from torch.nn import functional as F

from mmic.compat import is_autocast_on_cpu, is_channels_last
from mmic.layers.eager import (
    NotCompiled,
    give_up,
    has_compiled_code,
    may_compute,
    memory_of,
)
from mmic.layers.kernels import chosen

# Measured: on narrower maps, the operators of torch are as fast. With a stride they always are,
# unless they compute that many times the channels, since they fill up vectors of 16 for each
# dilation, or have to join and add up channels on wide maps.
LEAST_WIDTH = 24
VECTOR, LEAST_SURPLUS = 16, 1.1
LEAST_STRIDED_WIDTH = 16


class Kernels(NamedTuple):
    """Kernels of one dilation, of all of some outputs by all of some inputs.

    Attributes:
        outputs (list[int]): Output channels.
        inputs (list[int]): Input channels.
        dilation (tuple[int, int]): (d_h, d_w).
        padding (tuple[int, int]): (p_h, p_w).
    """

    outputs: List[int]
    inputs: List[int]
    dilation: Tuple[int, int]
    padding: Tuple[int, int]

    def transposed(self):
        """Those of the convolution that makes the input's gradient from the output's."""
        padding = tuple(2 * d - p for d, p in zip(self.dilation, self.padding))
        return Kernels(self.inputs, self.outputs, self.dilation, padding)


class Direct:
    """A convolution with 3x3 kernels, without groups.

    Args:
        parts (list[Kernels]): Of which it is the sum; no two share a kernel.
        stride (tuple[int, int]): On both axes; with one, it has no gradients. Defaults to (1, 1).
    """

    def __init__(self, parts, stride=(1, 1)):
        self.parts, self.stride = parts, tuple(stride)
        self.in_channels = 1 + max(max(part.inputs) for part in parts)
        self.tallest = max(part.dilation[0] for part in parts)
        sizes = [(len(part.outputs), len(part.inputs)) for part in parts]
        filled = sum(-(-outs // VECTOR) * VECTOR * ins for outs, ins in sizes)
        self.surplus = filled / sum(outs * ins for outs, ins in sizes)

    @functools.cached_property
    def plan(self):
        from mmic.layers.direct.plan import plan_direct
        from mmic.layers.direct.strided import plan_strided

        if self.has_gradients():
            return plan_direct(self.parts)
        return plan_strided(self.parts, self.stride)

    @functools.cached_property
    def plan_back(self):
        from mmic.layers.direct.plan import plan_direct

        return plan_direct([part.transposed() for part in self.parts])

    @functools.cached_property
    def gradients(self):
        from mmic.layers.direct.plan import plan_gradients

        return plan_gradients(self.parts)

    def has_gradients(self):
        """Whether it is computed with gradients too."""
        return self.stride == (1, 1)

    def output_size(self, x):
        """Height and width, by the first part: they all give the same."""
        first = self.parts[0]
        sizes = zip(x.shape[2:], first.padding, first.dilation, self.stride)
        return [(size + 2 * (p - d) - 1) // stride + 1 for size, p, d, stride in sizes]

    def applies(self, x, *parameters):
        """Whether it computes a convolution of these, and is the faster way.

        Args:
            x (Tensor): Its input.
            *parameters (Tensor): Its weights and biases.
        """
        tensors = x, *parameters
        if torch.is_grad_enabled() and not self.has_gradients():
            return False
        # First of all, whether torch is traced: a compiler reads none of the rest.
        if not may_compute(*tensors) or chosen() == 'plain' or is_autocast_on_cpu():
            return False
        if not has_compiled_code():
            return False
        if any(tensor.dtype != torch.float32 for tensor in tensors):
            return False
        # torch says what is wrong with other input.
        if x.dim() != 4 or x.shape[1] != self.in_channels or len(self.parts) < 2:
            return False
        height, width = self.output_size(x)
        if self.has_gradients():
            return height >= self.tallest and width >= LEAST_WIDTH
        least = LEAST_WIDTH
        if self.surplus >= LEAST_SURPLUS:
            least = LEAST_STRIDED_WIDTH
        elif all(len(part.inputs) == self.in_channels for part in self.parts):
            return False
        return height > 0 and width >= least

    def conv2d(self, x, weight, bias):
        """Compute the convolution, which has to apply.

        Args:
            x (Tensor): Shape (N, C_in, H, W).
            weight (Tensor): (C_out, C_in, 3, 3).
            bias (Tensor | None): (C_out,).

        Returns:
            Tensor | None: (N, C_out, H', W'), channels_last if ``x`` or the weight is; None where
            numba cannot compile on this machine.
        """
        try:
            return _Convolution.apply(x, weight, bias, self)
        except NotCompiled as error:
            give_up(error)
            return None

    def factors(self, weight):
        """What ``conv2d_of`` needs of a weight."""
        from mmic.layers.direct import strided, winograd

        memory = memory_of(weight)
        if self.has_gradients():
            return winograd.factors_of(self.plan, memory, False)
        return strided.factors_of(self.plan, memory)

    def conv2d_of(self, x, factors, bias, channels_last):
        """Compute the convolution without gradients."""
        return _convolve(self.plan, x, factors, bias, self.output_size(x), channels_last)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, direct):
        ctx.direct = direct
        ctx.save_for_backward(x, weight)
        channels_last = is_channels_last(x) or is_channels_last(weight)
        if bias is None:
            bias = x.new_zeros(len(weight))
        return direct.conv2d_of(x, direct.factors(weight), bias, channels_last)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        grad_x = grad_weight = None
        # For second derivatives, for example, torch's operators are needed.
        compiled = not torch.is_grad_enabled() and may_compute(x, weight, grad)
        try:
            if compiled and for_x:
                grad_x = _input_gradient(ctx.direct, x, weight, grad)
            if compiled and for_weight:
                grad_weight = _weight_gradient(ctx.direct, x, weight, grad)
        except NotCompiled as error:
            give_up(error)
            compiled = False
        if not compiled:
            grad_x, grad_weight = _plain_gradients(ctx.direct.parts, x, weight, grad)
        return grad_x, grad_weight, grad.sum((0, 2, 3)) if for_bias else None, None


def _input_gradient(direct, x, weight, grad):
    from mmic.layers.direct import winograd

    factors = winograd.factors_of(direct.plan_back, memory_of(weight), True)
    zeros = x.new_zeros(x.shape[1])
    return _convolve(direct.plan_back, grad, factors, zeros, x.shape[2:], is_channels_last(x))


def _weight_gradient(direct, x, weight, grad):
    from mmic.layers.direct import gradient

    result = torch.empty_like(weight)
    (x, images), (grad, grads) = _images(x), _images(grad)
    gradient.correlate(direct.plan, direct.gradients, images, grads, memory_of(result))
    return result


def _plain_gradients(parts, x, weight, grad):
    """The gradients by operators of torch, which are differentiable themselves."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        x, weight = (
            tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            for tensor in (x, weight)
        )
        output = plain_conv2d(parts, x, weight)
        return torch.autograd.grad(output, (x, weight), grad, create_graph=create_graph)


def plain_conv2d(parts, x, weight):
    """The sum of parts by operators of torch, one convolution each.

    Args:
        parts (list[Kernels]): The parts.
        x (Tensor): Shape (N, C_in, H, W).
        weight (Tensor): (C_out, C_in, 3, 3).

    Returns:
        Tensor: (N, C_out, H', W').
    """
    total = None
    for part in parts:
        kernel = weight[part.outputs][:, part.inputs]
        output = F.conv2d(x[:, part.inputs], kernel, None, 1, part.padding, part.dilation)
        if total is None:
            total = output.new_zeros(len(output), len(weight), *output.shape[2:])
        total = total.index_add(1, torch.tensor(part.outputs, device=x.device), output)
    return total


def _convolve(plan, x, factors, bias, size, channels_last):
    from mmic.layers.direct import strided, winograd

    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    size = len(x), len(bias), *size
    result = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=memory_format)
    x, images = _images(x)
    _, outputs = _images(result, channels_last)
    form = strided if isinstance(plan, strided.Plan) else winograd
    bias = bias.contiguous()
    form.convolve(plan, images, factors, memory_of(bias), outputs)
    return result


def _images(x, channels_last=None):
    """Images as ``winograd`` takes them, on the memory of ``x`` if that is possible.

    Returns:
        tuple[Tensor, Images]: The tensor that holds the memory, for as long as it is used.
    """
    from mmic.layers.direct.images import Images

    last = is_channels_last(x) if channels_last is None else channels_last
    x = x if last else x.contiguous()
    return x, Images(memory_of(x.permute(0, 2, 3, 1) if last else x), last)
