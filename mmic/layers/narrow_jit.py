"""Convolutions of few output channels on a CPU, compiled by numba.

The loops run along the image inside, where they fill the processor's vectors whatever the number
of output channels. An image lies in memory row after row with zeros between them, so that a tap of
the kernel reads several rows as one long run; the sums of these rows stay in the nearest cache
until all input channels are in.
"""

import numpy as np
import torch
from numba import njit
from torch.nn import functional as F

from mmic.layers.threads import share

# Not all of it: NaN and infinity have to come out as they are.
compiled = njit(nogil=True, cache=True, fastmath={'contract', 'reassoc', 'nsz'})
CHANNELS = 4  # output channels that share the reading of the input
RUN = 768  # pixels whose sums are made together, about: those of four channels fill 12 KiB
LINE = 16  # channels that are copied together: what the processor reads at once
BLOCK = 32  # a run of a multiple of it leaves no rest to be done in single steps


def conv2d(x, weights, bias, dilations, paddings, result):
    """Write the outputs of 3x3 convolutions of stride 1, one after the other, into ``result``.

    Args:
        x (Tensor): (N, C_in, H, W) in float32, on the CPU as all of them.
        weights (Sequence[Tensor]): Of each convolution, (C_out of it, C_in, 3, 3).
        bias (Tensor): Of all of them, (C_out,).
        dilations (Sequence[tuple[int, int]]): (d_h, d_w) of each.
        paddings (Sequence[tuple[int, int]]): (p_h, p_w) of each, such that outputs are of one size.
        result (Tensor): (N, C_out, H', W').
    """
    height, width = result.shape[2:]
    tallest, widest = (max(sizes) for sizes in zip(*paddings))
    # What follows a row is also what precedes the next one.
    pitch = max(x.shape[3] + widest, width)
    runs = -(-height * pitch // RUN)
    rows = -(-height // runs)
    rest = BLOCK + 2 * max(d_w for _, d_w in dilations)  # what the last run may read beyond
    passes, kernels, start = [], [], 0
    for weight, (d_h, d_w), (p_h, p_w) in zip(weights, dilations, paddings):
        origin = (tallest - p_h) * pitch + widest - p_w
        for kernel in weight.detach().flatten(2).split(CHANNELS):
            passes.append((start, len(kernel), origin, d_h * pitch, d_w))
            kernels.append(F.pad(kernel, (0, 0, 0, 0, 0, CHANNELS - len(kernel))))
            start += len(kernel)
    arrays = (
        _padded(x.detach(), tallest, widest, pitch, rest).numpy(),
        torch.stack(kernels).numpy(),
        bias.detach().numpy(),
        np.array(passes),
        result.detach().numpy(),
    )
    share(_conv2d, len(x) * -(-height // rows), *arrays, pitch, rows)


def _padded(x, top, left, pitch, rest):
    """The input, (N, C, pixels): rows of ``pitch`` pixels, ``top`` of zeros above and below."""
    batch, channels, height, width = x.shape
    first = left + top * pitch
    padded = torch.zeros(batch, channels, first + (height + top) * pitch + left + rest)
    image = padded[:, :, first : first + height * pitch].unflatten(2, (height, pitch))
    image = image[..., :width]
    if x.is_contiguous():
        image.copy_(x)
    else:  # where torch copies one by one
        share(_copy, batch * height, x.numpy(), image.numpy())
    return padded


@compiled
def _copy(x, image, first, last):
    channels, height = x.shape[1:3]
    for row in range(first, last):
        number, y = row // height, row % height
        for start in range(0, channels, LINE):
            for channel in range(start, min(start + LINE, channels)):
                image[number, channel, y, :] = x[number, channel, y]


@compiled
def _conv2d(x, kernels, bias, passes, result, pitch, rows, first, last):
    height, width = result.shape[2:]
    runs = -(-height // rows)
    sums = np.zeros((CHANNELS, -(-rows * pitch // BLOCK) * BLOCK), x.dtype)
    for number in range(first, last):
        image, top = number // runs, number % runs * rows
        count = min(rows, height - top)
        length = -(-count * pitch // BLOCK) * BLOCK
        for which in range(len(passes)):
            start, used, origin = passes[which, 0], passes[which, 1], passes[which, 2]
            d_h, d_w = passes[which, 3], passes[which, 4]
            for out in range(used):
                sums[out] = bias[start + out]
            origin += top * pitch
            if used > 2:
                _add_four(x[image], kernels[which], origin, d_h, d_w, length, sums)
            else:
                _add_two(x[image], kernels[which], origin, d_h, d_w, length, sums)
            for out in range(used):
                for row in range(count):
                    line = sums[out, row * pitch : row * pitch + width]
                    result[image, start + out, top + row] = line


@compiled
def _add_four(x, kernels, origin, d_h, d_w, length, sums):
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    for channel in range(len(x)):
        for row in range(3):
            x0, x1, x2 = _shifted(x[channel, origin + row * d_h :], d_w, length)
            a0, a1, a2 = _factors(kernels[0, channel], row)
            b0, b1, b2 = _factors(kernels[1, channel], row)
            c0, c1, c2 = _factors(kernels[2, channel], row)
            d0, d1, d2 = _factors(kernels[3, channel], row)
            for i in range(length):
                u, v, w = x0[i], x1[i], x2[i]
                s0[i] += a0 * u + a1 * v + a2 * w
                s1[i] += b0 * u + b1 * v + b2 * w
                s2[i] += c0 * u + c1 * v + c2 * w
                s3[i] += d0 * u + d1 * v + d2 * w


@compiled
def _add_two(x, kernels, origin, d_h, d_w, length, sums):
    s0, s1 = sums[0], sums[1]
    for channel in range(len(x)):
        for row in range(3):
            x0, x1, x2 = _shifted(x[channel, origin + row * d_h :], d_w, length)
            a0, a1, a2 = _factors(kernels[0, channel], row)
            b0, b1, b2 = _factors(kernels[1, channel], row)
            for i in range(length):
                u, v, w = x0[i], x1[i], x2[i]
                s0[i] += a0 * u + a1 * v + a2 * w
                s1[i] += b0 * u + b1 * v + b2 * w


@compiled
def _shifted(x, step, length):
    return x[:length], x[step : step + length], x[2 * step : 2 * step + length]


@compiled
def _factors(kernel, row):
    return kernel[3 * row], kernel[3 * row + 1], kernel[3 * row + 2]
