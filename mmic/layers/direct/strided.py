"""Convolutions of many dilations with a stride, for inference.

With a stride, rows of the output do not share products as in ``winograd``: each of the three rows
of taps is computed. The image is taken apart into planes, of every s_h-th row and every s_w-th
column, in which the taps of an output are as far from those of the next one as without a stride.
"""

from typing import NamedTuple, Tuple

import numpy as np
import torch

from mmic.layers.direct.compiled import compiled, entry
from mmic.layers.direct.images import transpose_table, written
from mmic.layers.direct.loops import FACTORS, LONGEST, MOST, STEP, TAPS
from mmic.layers.direct.plan import PIXELS, alike_outputs, split_outputs, table
from mmic.layers.direct.taps import sum_taps
from mmic.layers.threads import share


class Plan(NamedTuple):
    """Tables of int64.

    Attributes:
        jobs (ndarray): (jobs, 5 + MOST): how many outputs are computed together, their reads as
            first and one after the last, how many reads the jobs before have, 1, and the outputs.
        reads (ndarray): (reads, 5): input channel, d_h, d_w, p_h, p_w.
        stride (tuple[int, int]): (s_h, s_w).
    """

    jobs: np.ndarray
    reads: np.ndarray
    stride: Tuple[int, int]

    def offsets(self, axis):
        """First and last place that any output reads, counted in planes from its own."""
        dilations, paddings = self.reads[:, 1 + axis], self.reads[:, 3 + axis]
        stride = self.stride[axis]
        return int((-paddings // stride).min()), int(((2 * dilations - paddings) // stride).max())


def plan_strided(parts, stride):
    """Plan a convolution that is the sum of parts, no two of which share a kernel.

    Args:
        parts (list[Kernels]): The parts.
        stride (tuple[int, int]): (s_h, s_w).

    Returns:
        Plan
    """
    jobs, reads, factors = [], [], 0
    for own, outputs in alike_outputs(parts):
        begin = len(reads)
        for part in own:
            reads += [(channel, *part.dilation, *part.padding) for channel in part.inputs]
        for outs in split_outputs(outputs):
            filler = [-1] * (MOST - len(outs))
            jobs.append((len(outs), begin, len(reads), factors, 1, *outs, *filler))
            factors += len(reads) - begin
    return Plan(table(jobs), table(reads), tuple(stride))


def factors_of(plan, weight):
    """All kernels, in the order in which they are read.

    Args:
        plan (Plan): Of the layer.
        weight (ndarray): (C_out, C_in, 3, 3) in float32.

    Returns:
        ndarray: (jobs' reads, 4, FACTORS).
    """
    last = plan.jobs[-1]
    factors = np.zeros((last[3] + last[2] - last[1], 4, FACTORS), np.float32)
    share(_factors, len(plan.jobs), plan.jobs, plan.reads, weight, factors)
    return factors


def convolve(plan, x, factors, bias, result):
    """Write a convolution with 3x3 kernels into ``result``.

    Args:
        plan (Plan): Of the layer.
        x (Images): C_in channels.
        factors (ndarray): From ``factors_of``.
        bias (ndarray): (C_out,).
        result (Images): C_out channels.
    """
    (height, width), columns = result.size(), -(-x.size()[1] // plan.stride[1])
    (above, below), (before, behind) = plan.offsets(0), plan.offsets(1)
    left = max(0, -before)
    pitch = max(columns + left, width + behind)
    most = min(PIXELS // pitch, -(-len(x.array) * height // torch.get_num_threads()))
    runs = -(-height // max(1, most))
    rows = -(-height // runs)
    arrays = *x, plan.jobs, plan.reads, factors, bias, *result, *plan.stride
    lines = rows + below - above
    length = lines * pitch + left + max(0, behind) + LONGEST
    sizes = above, lines, length, left, pitch, rows
    share(_convolve, len(x.array) * runs, *arrays, *sizes)


@entry
def _factors(jobs, reads, weight, factors, first, last):
    for job in range(first, last):
        begin, end, start = jobs[job, 1], jobs[job, 2], jobs[job, 3]
        for read in range(begin, end):
            into = factors[start + read - begin]
            for k in range(jobs[job, 0]):
                kernel = weight[jobs[job, 5 + k], reads[read, 0]]
                for row in range(TAPS):
                    for tap in range(TAPS):
                        into[row, k * TAPS + tap] = kernel[row, tap]


@entry
def _convolve(
    x, x_last, jobs, reads, factors, bias, result, result_last, s_h, s_w, above, lines, length,
    left, pitch, rows, first, last,
):  # fmt: skip
    height, width = result.shape[1:3] if result_last else result.shape[2:]
    runs, depth = -(-height // rows), x.shape[3] if x_last else x.shape[1]
    planes = np.zeros((depth, s_h, s_w, length), x.dtype)
    places = _places(reads, s_h, s_w, length, above, left, pitch)
    sums = np.empty((TAPS, MOST, rows * pitch + LONGEST), x.dtype)
    outs = np.empty((len(bias) if result_last else 0, rows, width), x.dtype)
    for number in range(first, last):
        which, top = number // runs, number % runs * rows
        count = min(rows, height - top)
        _take_apart(x[which], x_last, top + above, left, pitch, lines, planes)
        for job in range(len(jobs)):
            start = (jobs[job, 3] - jobs[job, 1]) * STEP
            for row in range(TAPS):
                sum_taps(
                    jobs[job], count * pitch, planes.ravel(), places[row], 0, factors,
                    start + row * FACTORS, sums[row],
                )  # fmt: skip
            for k in range(jobs[job, 0]):
                out = jobs[job, 5 + k]
                target = outs[out] if result_last else result[which, out, top : top + count]
                for y in range(count):
                    into = target[y]
                    s0, s1 = sums[0, k, y * pitch :], sums[1, k, y * pitch :]
                    s2 = sums[2, k, y * pitch :]
                    for i in range(width):
                        into[i] = bias[out] + s0[i] + s1[i] + s2[i]
        if result_last:
            written(outs, count, result, which, top)


@compiled
def _places(reads, s_h, s_w, length, above, left, pitch):
    """Where the taps of each row of a kernel start in the planes."""
    places = np.empty((TAPS, len(reads), TAPS), np.int64)
    for row in range(TAPS):
        for read in range(len(reads)):
            channel, d_h, d_w, p_h, p_w = reads[read]
            y = row * d_h - p_h
            for tap in range(TAPS):
                x = tap * d_w - p_w
                plane = (channel * s_h + y % s_h) * s_w + x % s_w
                places[row, read, tap] = (
                    plane * length + (y // s_h - above) * pitch + left + x // s_w
                )
    return places


@compiled
def _take_apart(image, last, top, left, pitch, lines, planes):
    """Every s_h-th row and s_w-th column of an image, ``lines`` of them from ``top`` on."""
    depth, s_h, s_w, length = planes.shape
    height, width = image.shape[:2] if last else image.shape[1:]
    pixels, into = image.ravel(), planes.ravel()
    for line in range(lines):
        for row in range(s_h):
            y = (top + line) * s_h + row
            for column in range(s_w):
                count = (width - column + s_w - 1) // s_w
                first = left + line * pitch
                place = (row * s_w + column) * length + first
                if not 0 <= y < height:
                    planes[:, row, column, first : first + count] = 0
                elif last:
                    start, step = (y * width + column) * depth, s_h * s_w * length
                    transpose_table(pixels, start, s_w * depth, into, place, step, count, depth)
                else:
                    for channel in range(depth):
                        result = planes[channel, row, column, first:]
                        _take_every(s_w, image[channel, y, column:], count, result)


@compiled
def _take_every(step, source, count, result):
    if step == 2:  # known to the compiler, which then moves vectors
        for i in range(count):
            result[i] = source[2 * i]
    else:
        for i in range(count):
            result[i] = source[step * i]
