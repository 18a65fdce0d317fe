"""The gradient of the weight, made from the products of ``winograd``."""

import numpy as np

from mmic.layers.direct.compiled import compiled, entry
from mmic.layers.direct.images import place_for, staged
from mmic.layers.direct.plan import rows_together
from mmic.layers.direct.vectors import BLOCK, PRODUCTS, TAPS, TOGETHER, WIDTH, correlation
from mmic.layers.direct.winograd import make_tiles, pixels_of, row_of, space_of
from mmic.layers.threads import share

correlate_block, correlate_one = correlation(TOGETHER, BLOCK), correlation(TOGETHER, 1)


def correlate(plan, gradients, x, grad, result):
    """Write the gradient of the weight into ``result``.

    Args:
        plan (Plan): Of the layer.
        gradients (Gradients): Of the layer.
        x (Images): C_in channels.
        grad (Images): Of the output, C_out channels.
        result (ndarray): (C_out, C_in / groups, 3, 3).
    """
    height, width = grad.size()
    pitch = max(x.size()[1] + plan.left, width)
    rows = rows_together(plan.stages, height, pitch, height)  # threads share the outputs
    arrays = *x, *grad, plan.stages, plan.slots, *gradients, result
    share(_correlate, len(gradients.pairs), *arrays, plan.left, plan.reach, pitch, rows)


@entry
def _correlate(
    x, x_last, grad, grad_last, stages, slots, pairs, sources, result, left, reach, pitch, rows,
    first, last,
):  # fmt: skip
    height = grad.shape[1 if grad_last else 2]
    before, final = pairs[first, 3], pairs[last - 1]
    blocks = final[3] - before + -(-(final[2] - final[1]) // BLOCK)
    sums = np.zeros((blocks, 4, PRODUCTS), x.dtype)
    most, space = space_of(stages, rows, pitch)
    length = space + reach
    tiles = np.zeros((most, 4, length), x.dtype)
    starts = sources[:, 0] * 4 * length
    grads = np.zeros((TOGETHER, space + 2 * reach), x.dtype)
    place_x, place_grad = place_for(x, x_last), place_for(grad, grad_last)
    for number in range(len(x)):
        image = staged(x, x_last, number, place_x)
        grad_image = staged(grad, grad_last, number, place_grad)
        for top in range(0, height, rows):
            count = min(rows, height - top)
            for stage in range(len(stages)):
                begin, end = _of_stage(pairs, stage, first, last)
                if begin == end:
                    continue
                d_h, own = stages[stage, 0], slots[stages[stage, 1] : stages[stage, 2]]
                make_tiles(image, own, d_h, top, count, left, pitch, tiles)
                pixels = pixels_of(count, d_h, pitch)
                for product in range(4):
                    for pair in range(begin, end):
                        for k in range(TOGETHER):
                            out = pairs[pair, 4 + 3 * k]
                            if out < 0:
                                grads[k] = 0
                            else:
                                rows_of = grad_image[out, top : top + count]
                                _make_grads(rows_of, product, d_h, pitch, reach, grads[k])
                            grads[k, reach + pixels : reach + pixels + reach + WIDTH] = 0
                        into = ((pairs[pair, 3] - before) * 4 + product) * PRODUCTS
                        _multiply(
                            pairs[pair], starts, product * length, pixels + reach, reach, tiles,
                            grads, sums, into,
                        )  # fmt: skip
    for pair in range(first, last):
        _finish(pairs[pair], sources, sums[pairs[pair, 3] - before :], result)


@compiled
def _of_stage(pairs, stage, first, last):
    """The pairs of a stage among those from ``first`` on to ``last``."""
    begin = first
    while begin < last and pairs[begin, 0] < stage:
        begin += 1
    end = begin
    while end < last and pairs[end, 0] == stage:
        end += 1
    return begin, end


@compiled
def _make_grads(rows, product, d_h, pitch, place, grads):
    """The gradient of a product, row after row with zeros between them."""
    count, width = rows.shape
    outside = np.zeros(width, rows.dtype)
    # Of the upper and of the lower row, from what they add up to.
    a = 1 if product < 3 else 0
    b = (0, 1, -1, -1)[product]
    for block in range(-(-count // (2 * d_h))):
        for row in range(d_h):
            y = 2 * d_h * block + row
            upper, lower = row_of(rows, y, outside), row_of(rows, y + d_h, outside)
            into = grads[place : place + width]
            for i in range(width):
                into[i] = a * upper[i] + b * lower[i]
            place += pitch


@compiled
def _multiply(pair, starts, shift, pixels, reach, tiles, grads, sums, into):
    flat, every, totals, steps = tiles.ravel(), grads.ravel(), sums.ravel(), -(-pixels // WIDTH)
    places, distances = (reach - pair[5], grads.shape[1] + reach - pair[8]), (pair[6], pair[9])
    for first in range(pair[1], pair[2], BLOCK):
        if first + BLOCK <= pair[2]:
            correlate_block(
                flat, starts, first, shift, every, places, distances, steps, totals, into
            )
        else:
            for k in range(pair[2] - first):
                at = into + k * TOGETHER * TAPS
                correlate_one(
                    flat, starts, first + k, shift, every, places, distances, steps, totals, at
                )
        into += 4 * PRODUCTS


@compiled
def _finish(pair, sources, sums, result):
    depth = result.shape[1]
    for number in range(pair[2] - pair[1]):
        channel, block = sources[pair[1] + number, 1], sums[number // BLOCK]
        for k in range(TOGETHER):
            if pair[4 + 3 * k] < 0:
                continue
            kernel = result[pair[4 + 3 * k], channel % depth]
            for tap in range(TAPS):
                at = (number % BLOCK * TOGETHER + k) * TAPS + tap
                middle = (block[1, at] + block[2, at]) / 2
                kernel[0, tap] = block[0, at] + middle
                kernel[1, tap] = (block[1, at] - block[2, at]) / 2
                kernel[2, tap] = middle + block[3, at]
