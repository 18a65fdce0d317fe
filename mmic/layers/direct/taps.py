"""Rows of taps, summed up over input channels, for however many outputs there are."""

import numpy as np

from mmic.layers.direct.compiled import compiled
from mmic.layers.direct.loops import MOST, convolution, span

convolve_1, convolve_2, convolve_3, convolve_4, convolve_5 = map(convolution, range(1, MOST + 1))
SPANS = np.array([0, *map(span, range(1, MOST + 1))])


@compiled
def sum_taps(job, pixels, tiles, places, pixel, factors, factor, sums):
    """Write a row of taps, summed up over the reads of a job, into ``sums``, (MOST, space)."""
    where, every, into = places.ravel(), factors.ravel(), sums.ravel()
    used, begin, end, space = job[0], job[1], job[2], sums.shape[1]
    for place in range(0, pixels, SPANS[used]):
        shift = pixel + place
        if used == 4:
            convolve_4(tiles, where, begin, end, shift, every, factor, into, place, space)
        elif used == 3:
            convolve_3(tiles, where, begin, end, shift, every, factor, into, place, space)
        elif used == 5:
            convolve_5(tiles, where, begin, end, shift, every, factor, into, place, space)
        elif used == 2:
            convolve_2(tiles, where, begin, end, shift, every, factor, into, place, space)
        else:
            convolve_1(tiles, where, begin, end, shift, every, factor, into, place, space)
