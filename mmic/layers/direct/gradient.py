"""The gradient of the weight, made from the products of ``winograd``."""

import numpy as np
import torch

from mmic.layers.direct.compiled import compiled, entry
from mmic.layers.direct.images import place_for, staged
from mmic.layers.direct.loops import BLOCK, PRODUCTS, TAPS, TOGETHER, correlation
from mmic.layers.direct.plan import rows_together
from mmic.layers.direct.vectors import WIDTH
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
    rows = rows_together(plan.stages, height, pitch, height)
    # Threads share the images first: what is made of an image serves all outputs.
    threads, (pairs, sources) = torch.get_num_threads(), gradients
    images = min(len(x.array), threads)
    chunks = min(len(pairs), -(-threads // images))
    blocks = pairs[-1, 3] + -(-(pairs[-1, 2] - pairs[-1, 1]) // BLOCK)
    sums = np.zeros((images, blocks, 4, PRODUCTS), np.float32)
    arrays = *x, *grad, plan.stages, plan.slots, pairs, sources, sums
    share(_correlate, images * chunks, *arrays, plan.left, plan.reach, pitch, rows, chunks)
    share(_finish, len(pairs), pairs, sources, sums.sum(0), result)


@entry
def _correlate(
    x, x_last, grad, grad_last, stages, slots, pairs, sources, sums, left, reach, pitch, rows,
    chunks, first, last,
):  # fmt: skip
    most, space = space_of(stages, rows, pitch)
    tiles = np.zeros((most, 4, space + reach), x.dtype)
    starts = sources[:, 0] * 4 * (space + reach)
    grads = np.zeros((TOGETHER, space + 2 * reach), x.dtype)
    place_x, place_grad = place_for(x, x_last), place_for(grad, grad_last)
    for number in range(first, last):
        part, chunk = number // chunks, number % chunks
        begin, end = len(pairs) * chunk // chunks, len(pairs) * (chunk + 1) // chunks
        for which in range(len(x) * part // len(sums), len(x) * (part + 1) // len(sums)):
            image = staged(x, x_last, which, place_x)
            grad_image = staged(grad, grad_last, which, place_grad)
            for top in range(0, grad_image.shape[1], rows):
                count = min(rows, grad_image.shape[1] - top)
                for stage in range(len(stages)):
                    own = _of_stage(pairs, stage, begin, end)
                    if len(own):
                        d_h, wanted = stages[stage, 0], slots[stages[stage, 1] : stages[stage, 2]]
                        make_tiles(image, wanted, d_h, top, count, left, pitch, tiles)
                        rows_of = grad_image[:, top : top + count]
                        _add_products(
                            own, starts, rows_of, d_h, pitch, reach, tiles, grads, sums[part]
                        )


@compiled
def _add_products(pairs, starts, rows, d_h, pitch, reach, tiles, grads, sums):
    pixels = pixels_of(rows.shape[1], d_h, pitch)
    for product in range(4):  # a tile of each stays in a cache
        for pair in pairs:
            for k in range(TOGETHER):
                out = pair[4 + 3 * k]
                if out < 0:
                    grads[k] = 0
                else:
                    _make_grads(rows[out], product, d_h, pitch, reach, grads[k])
                grads[k, reach + pixels : reach + pixels + reach + WIDTH] = 0
            _multiply(pair, starts, product, pixels, reach, tiles, grads, sums)


@compiled
def _of_stage(pairs, stage, begin, end):
    """The pairs of a stage among those from ``begin`` on to ``end``."""
    while begin < end and pairs[begin, 0] < stage:
        begin += 1
    last = begin
    while last < end and pairs[last, 0] == stage:
        last += 1
    return pairs[begin:last]


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
def _multiply(pair, starts, product, pixels, reach, tiles, grads, sums):
    flat, every, totals = tiles.ravel(), grads.ravel(), sums.ravel()
    shift, steps = product * tiles.shape[2], -(-(pixels + reach) // WIDTH)
    places, distances = (reach - pair[5], grads.shape[1] + reach - pair[8]), (pair[6], pair[9])
    into = (pair[3] * 4 + product) * PRODUCTS
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


@entry
def _finish(pairs, sources, sums, result, first, last):
    """Make the gradients of the kernels' rows from those of their products' factors."""
    depth = result.shape[1]
    for pair in pairs[first:last]:
        for number in range(pair[2] - pair[1]):
            channel, block = sources[pair[1] + number, 1], sums[pair[3] + number // BLOCK]
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
