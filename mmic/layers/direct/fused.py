"""The compiled form of a fused convolution on CPUs, its weights laid out once."""

import ctypes
from typing import List, NamedTuple

import numpy as np
import torch
from torch import nn

from mmic.compat import is_channels_last
from mmic.layers.direct import Direct, Kernels
from mmic.layers.eager import NotCompiled, give_up
from mmic.layers.selection import inverse_order

_compare = ctypes.CDLL(None).memcmp
_compare.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t


class Made(NamedTuple):
    """What a fused convolution computes with.

    Attributes:
        factors (ndarray): From ``Direct.factors``.
        bias (Tensor): Shape (C_out,).
        copies (list[Tensor]): Of the weights and biases that it was made from.
    """

    factors: np.ndarray
    bias: torch.Tensor
    copies: List[torch.Tensor]


def prepare_direct(terms, unsort, layer):
    """Find the compiled form of a fused convolution.

    Args:
        terms, unsort, layer: See ``FusedConv2d``.

    Returns:
        FusedDirect | None: None where it has none.
    """
    if layer.kernel_size != (3, 3) or layer.groups > 1:
        return None
    parts, seen = [], torch.zeros(layer.out_channels, layer.in_channels, dtype=torch.bool)
    place = inverse_order(unsort)
    for convs, order in terms:
        # The place in the sum of each channel of the term, and in the output of each in the sum.
        rows = list(range(layer.out_channels))
        rows = rows if order is None else inverse_order(order)
        rows = [place[row] for row in rows]
        for conv, inputs in convs:
            own, rows = rows[: conv.out_channels], rows[conv.out_channels :]
            for group in range(conv.groups):
                outs, ins = _chunk(own, group, conv.groups), _chunk(inputs, group, conv.groups)
                if seen[outs][:, ins].any():  # parts share kernels
                    return None
                seen[torch.tensor(outs)[:, None], torch.tensor(ins)] = True
                parts.append(Kernels(outs, ins, conv.dilation, conv.padding))
    return FusedDirect(Direct(parts, layer.stride), layer.out_channels, layer.in_channels)


def _chunk(items, number, count):
    size = len(items) // count
    return items[number * size : (number + 1) * size]


class FusedDirect:
    """Computes a fused convolution.

    Its factors are made again when the weights have other values. The values are compared on each
    call, at the speed of memory: what changes them may be no operator of torch.

    Args:
        direct (Direct): Its parts are of all groups of all convolutions, one after the other.
        out_channels, in_channels (int): Of the whole.
    """

    def __init__(self, direct, out_channels, in_channels):
        self.direct = direct
        self.shape = out_channels, in_channels
        self._made = None

    def __getstate__(self):
        return {**self.__dict__, '_made': None}

    def __call__(self, x, convs):
        """Compute the output, without gradients.

        Args:
            x (Tensor): Shape (N, C_in, H, W).
            convs (Sequence[nn.Conv2d]): Those that it was prepared for.

        Returns:
            Tensor | None: (N, C_out, H', W'); None where another way is faster or is wanted.
        """
        if not all(map(_is_plain, convs)):
            return None
        weights = [conv.weight for conv in convs]
        biases = [conv.bias for conv in convs if conv.bias is not None]
        # A bias that is too short would be read beyond its end.
        if any(len(conv.bias) != len(conv.weight) for conv in convs if conv.bias is not None):
            return None
        if not self.direct.applies(x, *weights, *biases):
            return None
        last = is_channels_last(x) or any(map(is_channels_last, weights))
        try:
            made = self._made_of([tensor.detach() for tensor in (*weights, *biases)], convs)
            return self.direct.conv2d_of(x, made.factors, made.bias, last)
        except NotCompiled as error:
            give_up(error)
            return None

    def _made_of(self, tensors, convs):
        """What was made of these weights and biases, made again if they were others."""
        made = self._made
        if made is None or not same_values(tensors, made.copies):
            weight, bias = self._whole(convs)
            copies = [tensor.clone() for tensor in tensors]
            made = self._made = Made(self.direct.factors(weight), bias, copies)
        return made

    def _whole(self, convs):
        """Weight and bias of all convolutions in one."""
        first = convs[0].weight
        weight, bias = first.new_zeros(*self.shape, 3, 3), first.new_zeros(self.shape[0])
        parts = iter(self.direct.parts)
        for conv in convs:
            for group in range(conv.groups):
                part = next(parts)
                outs = torch.tensor(part.outputs, device=first.device)
                ins = torch.tensor(part.inputs, device=first.device)
                weight[outs[:, None], ins] = conv.weight.detach().chunk(conv.groups)[group]
                if conv.bias is not None:
                    bias[outs] = conv.bias.detach().chunk(conv.groups)[group]
        return weight, bias


def _is_plain(conv):
    """Whether a module is what it was, not called in another way, nor quantised, say."""
    return type(conv) is nn.Conv2d and not (conv._forward_hooks or conv._forward_pre_hooks)


def same_values(tensors, copies):
    """Whether tensors on the CPU hold the same bytes as their copies."""
    return len(tensors) == len(copies) and all(map(_same_bytes, tensors, copies))


def _same_bytes(tensor, copy):
    if tensor.shape != copy.shape or tensor.stride() != copy.stride():
        return False
    # Where memory has gaps the copy has none, and its strides would differ.
    return not _compare(tensor.data_ptr(), copy.data_ptr(), copy.numel() * copy.element_size())
