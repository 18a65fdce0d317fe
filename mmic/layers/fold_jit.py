"""DO-Conv's kernel composition on a CPU, compiled by numba.

The taps of a kernel are few and its input channels many: the loops run over channels inside, where
they fill the processor's vectors, and everything that an output channel needs stays in its cache.
A batched matrix product over input channels, with matrices of 9 x 9, does neither.
"""

import numpy as np

from mmic.layers.direct.compiled import entry
from mmic.layers.eager import memory_of
from mmic.layers.threads import share

ROWS = 4  # output channels whose products are added up before they go to memory


def fold(weight, depthwise, result, groups):
    """Write ``W'[o, i, t] = sum over k of D[t, k, c] * W[o, i, k]`` into ``result``.

    Args:
        weight (Tensor): W, (C_out, C_in / groups, K), on the CPU as all of them.
        depthwise (Tensor): D, (T, K, C_in).
        result (Tensor): W', (C_out, C_in / groups, T).
        groups (int): Groups of the convolution.
    """
    depthwise = depthwise.contiguous()
    arrays = _by_tap(weight), memory_of(depthwise), _by_tap(result)
    share(_fold, len(weight), *arrays, len(weight) // groups)


def fold_depthwise(grad, weight, result, groups):
    """Write D's gradient, the sum over o of ``W'[o, i, t] * W[o, i, k]``, into ``result``.

    Args:
        grad (Tensor): Of W', (C_out, C_in / groups, T).
        weight (Tensor): W, (C_out, C_in / groups, K).
        result (Tensor): Contiguous, (T, K, C_in).
        groups (int): Groups of the convolution.
    """
    arrays = _by_tap(grad), _by_tap(weight), memory_of(result.zero_())
    share(_fold_depthwise, len(result), *arrays, len(weight) // groups)


def _by_tap(kernels):
    """(C_out, C_in / groups, taps) -> (C_out, taps, C_in / groups), as an array on its memory."""
    return memory_of(kernels.transpose(1, 2))


@entry
def _fold(weight, depthwise, result, per_group, first, last):
    taps, depth = weight.shape[1:]
    # Copies stand together in memory, whatever the strides of the arrays.
    source = np.empty((taps, depth), weight.dtype)
    row = np.empty(depth, weight.dtype)
    for out in range(first, last):
        channel = out // per_group * depth
        source[:] = weight[out]
        for tap in range(len(depthwise)):
            factors = depthwise[tap]
            row[:] = 0
            for k in range(0, taps // 3 * 3, 3):
                f0 = factors[k, channel : channel + depth]
                f1 = factors[k + 1, channel : channel + depth]
                f2 = factors[k + 2, channel : channel + depth]
                for i in range(depth):
                    row[i] += (
                        f0[i] * source[k, i] + f1[i] * source[k + 1, i] + f2[i] * source[k + 2, i]
                    )
            for k in range(taps // 3 * 3, taps):
                f0 = factors[k, channel : channel + depth]
                for i in range(depth):
                    row[i] += f0[i] * source[k, i]
            result[out, tap] = row


@entry
def _fold_depthwise(grad, weight, result, per_group, first, last):
    taps, depth = weight.shape[1:]
    source = np.empty((ROWS, taps, depth), weight.dtype)
    row = np.empty((ROWS, depth), weight.dtype)
    for start in range(0, len(weight), per_group):
        channel = start // per_group * depth
        for out in range(start, start + per_group, ROWS):
            used = min(ROWS, start + per_group - out)
            source[:used] = weight[out : out + used]
            source[used:] = 0
            row[used:] = 0
            for tap in range(first, last):
                row[:used] = grad[out : out + used, tap]
                for k in range(taps):
                    total = result[tap, k, channel : channel + depth]
                    for i in range(depth):
                        total[i] += (
                            row[0, i] * source[0, k, i]
                            + row[1, i] * source[1, k, i]
                            + row[2, i] * source[2, k, i]
                            + row[3, i] * source[3, k, i]
                        )
