"""Convolutions of many dilations on a CPU, compiled by numba.

The loops run along the image, so that they fill the processor's vectors whatever the number of
output channels of a dilation.

Two rows of the output that are d_h apart need four rows of the input, and four products in place
of six (Winograd's F(2, 3), Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016, here along the height only): with g the rows of a kernel and x those of the input,

    m0 = g0 (x0 - x2)                      y0 = m0 + m1 + m2
    m1 = (g0 + g1 + g2) / 2 (x1 + x2)      y1 = m1 - m2 - m3
    m2 = (g0 - g1 + g2) / 2 (x2 - x1)
    m3 = g2 (x1 - x3)

A product is a convolution of a row with three taps, summed up over the input channels. Tiles hold
the four sums and differences of rows, row after row with zeros between them, so that a tap reads
many rows as one long run. What is read with one d_h is one stage; the stages add up.
"""

import numpy as np
import torch

from mmic.layers.direct.compiled import compiled, entry
from mmic.layers.direct.images import place_for, staged, written
from mmic.layers.direct.loops import FACTORS, LONGEST, MOST, STEP, TAPS
from mmic.layers.direct.plan import rows_together
from mmic.layers.direct.taps import sum_taps
from mmic.layers.threads import share


def factors_of(plan, weight, transposed):
    """The products' factors of all kernels, in the order in which they are read.

    Args:
        plan (Plan): Of the layer, or of the input's gradient.
        weight (ndarray): (C_out, C_in / groups, 3, 3) in float32.
        transposed (bool): Whether the plan is that of the input's gradient.

    Returns:
        ndarray: (jobs' reads, 4, FACTORS).
    """
    last = plan.jobs[-1]
    factors = np.zeros((last[3] + last[2] - last[1], 4, FACTORS), np.float32)
    share(_factors, len(plan.jobs), plan.jobs, plan.reads, weight, transposed, factors)
    return factors


def convolve(plan, x, factors, bias, result):
    """Write a convolution of stride 1 with 3x3 kernels into ``result``.

    Args:
        plan (Plan): Of the layer, or of the input's gradient.
        x (Images): C_in channels.
        factors (ndarray): From ``factors_of``.
        bias (ndarray): (C_out,).
        result (Images): C_out channels.
    """
    height, width = result.size()
    pitch = max(x.size()[1] + plan.left, width)
    each = -(-len(x.array) * height // torch.get_num_threads())
    rows = rows_together(plan.stages, height, pitch, each)
    arrays = *x, plan.stages, plan.slots, plan.jobs, plan.reads, factors, bias, *result
    sizes = plan.left, plan.reach, pitch, rows
    share(_convolve, len(x.array) * -(-height // rows), *arrays, *sizes)


@entry
def _factors(jobs, reads, weight, transposed, factors, first, last):
    depth = weight.shape[1]
    for job in range(first, last):
        used, begin, end, start = jobs[job, 0], jobs[job, 1], jobs[job, 2], jobs[job, 3]
        for read in range(begin, end):
            channel, into = reads[read, 1], factors[start + read - begin]
            for k in range(used):
                out = jobs[job, 5 + k]
                for tap in range(TAPS):
                    if transposed:
                        kernel = weight[channel, out % depth, :, TAPS - 1 - tap]
                        g0, g1, g2 = kernel[2], kernel[1], kernel[0]
                    else:
                        kernel = weight[out, channel % depth, :, tap]
                        g0, g1, g2 = kernel[0], kernel[1], kernel[2]
                    place = k * TAPS + tap
                    into[0, place] = g0
                    into[1, place] = (g0 + g1 + g2) / 2
                    into[2, place] = (g0 - g1 + g2) / 2
                    into[3, place] = g2


@compiled
def make_tiles(x, slots, d_h, top, count, left, pitch, tiles):
    """The sums and differences of rows for ``count`` rows of the output from ``top`` on."""
    width = x.shape[2]
    outside = np.zeros(width, x.dtype)
    for slot in range(len(slots)):
        image, place = x[slots[slot, 0]], left
        for block in range(-(-count // (2 * d_h))):
            for row in range(d_h):
                y = top - slots[slot, 1] + 2 * d_h * block + row
                x0, x1 = row_of(image, y, outside), row_of(image, y + d_h, outside)
                x2 = row_of(image, y + 2 * d_h, outside)
                x3 = row_of(image, y + 3 * d_h, outside)
                t0, t1 = tiles[slot, 0, place:], tiles[slot, 1, place:]
                t2, t3 = tiles[slot, 2, place:], tiles[slot, 3, place:]
                for i in range(width):
                    t0[i] = x0[i] - x2[i]
                    t1[i] = x1[i] + x2[i]
                    t2[i] = x2[i] - x1[i]
                    t3[i] = x1[i] - x3[i]
                place += pitch


@compiled
def row_of(image, y, outside):
    return image[y] if 0 <= y < len(image) else outside


@compiled
def pixels_of(rows, d_h, pitch):
    """Pixels of one of the four tiles."""
    return -(-rows // (2 * d_h)) * d_h * pitch


@compiled
def space_of(stages, rows, pitch):
    """As many slots and pixels as any stage has, with what is computed beyond."""
    slots, pixels = 0, 0
    for stage in range(len(stages)):
        slots = max(slots, stages[stage, 2] - stages[stage, 1])
        pixels = max(pixels, pixels_of(rows, stages[stage, 0], pitch))
    return slots, pixels + LONGEST


@entry
def _convolve(
    x, x_last, stages, slots, jobs, reads, factors, bias, result, result_last, left, reach, pitch,
    rows, first, last,
):  # fmt: skip
    height, width = result.shape[1:3] if result_last else result.shape[2:]
    runs = -(-height // rows)
    most, space = space_of(stages, rows, pitch)
    length = space + reach
    tiles = np.zeros((most, 4, length), x.dtype)
    sums = np.empty((4, MOST, space), x.dtype)
    places = np.empty((len(reads), TAPS), np.int64)
    for read in range(len(reads)):
        for tap in range(TAPS):
            column = reads[read, 2] + tap * reads[read, 3]
            places[read, tap] = reads[read, 0] * 4 * length + column
    place, image, found = place_for(x, x_last), x[0], -1
    outs = np.empty((len(bias) if result_last else 0, rows, width), x.dtype)
    for number in range(first, last):
        which, top = number // runs, number % runs * rows
        if which != found:
            image, found = staged(x, x_last, which, place), which
        count = min(rows, height - top)
        for stage in range(len(stages)):
            d_h, own = stages[stage, 0], slots[stages[stage, 1] : stages[stage, 2]]
            make_tiles(image, own, d_h, top, count, left, pitch, tiles)
            pixels = pixels_of(count, d_h, pitch)
            for job in range(stages[stage, 3], stages[stage, 4]):
                _sum_up(jobs[job], pixels, tiles, places, factors, sums)
                for k in range(jobs[job, 0]):
                    out = jobs[job, 5 + k]
                    target = (
                        outs[out, :count] if result_last else result[which, out, top : top + count]
                    )
                    if jobs[job, 4]:
                        target[:] = bias[out]
                    _add_rows(sums, k, d_h, pitch, target)
        if result_last:
            written(outs, count, result, which, top)


@compiled
def _sum_up(job, pixels, tiles, places, factors, sums):
    length, start = tiles.shape[2], (job[3] - job[1]) * STEP
    for product in range(4):
        pixel, factor = product * length, start + product * FACTORS
        sum_taps(job, pixels, tiles.ravel(), places, pixel, factors, factor, sums[product])


@compiled
def _add_rows(sums, out, d_h, pitch, rows):
    """Add the two rows that each four products make."""
    count, width = rows.shape
    place = 0
    for block in range(-(-count // (2 * d_h))):
        for row in range(d_h):
            y = 2 * d_h * block + row
            m0, m1 = sums[0, out, place:], sums[1, out, place:]
            m2, m3 = sums[2, out, place:], sums[3, out, place:]
            if y < count:
                upper = rows[y]
                for i in range(width):
                    upper[i] += m0[i] + m1[i] + m2[i]
            if y + d_h < count:
                lower = rows[y + d_h]
                for i in range(width):
                    lower[i] += m1[i] - m2[i] - m3[i]
            place += pitch
