"""Images as the compiled convolutions read and write them, in either layout."""

from typing import NamedTuple

import numpy as np

from mmic.layers.direct.compiled import compiled
from mmic.layers.direct.loops import transpose
from mmic.layers.direct.vectors import WIDTH

STRIP = 64  # rows that are transposed together


class Images(NamedTuple):
    """Images in float32.

    Attributes:
        array (ndarray): (N, C, H, W), or (N, H, W, C), contiguous.
        last (bool): Whether it has its channels last.
    """

    array: np.ndarray
    last: bool

    def size(self):
        """Height and width."""
        return self.array.shape[1:3] if self.last else self.array.shape[2:]


@compiled
def place_for(images, last):
    """Where ``staged`` puts an image."""
    height, width, channels = images.shape[1:] if last else (0, 0, 0)
    return np.empty((channels, height, width), images.dtype)


@compiled
def staged(images, last, number, place):
    """An image with its channels first."""
    image = images[number]
    if not last:
        return image
    height, width, channels = image.shape
    pixels = height * width
    transpose_table(image.ravel(), 0, channels, place.ravel(), 0, pixels, pixels, channels)
    return place


@compiled
def written(outs, count, result, number, top):
    """Write rows of all channels, (C, rows, W), of which there are ``count``, channels last."""
    channels, rows, width = outs.shape
    into = (number * result.shape[1] + top) * width * channels
    pixels = count * width
    transpose_table(outs.ravel(), 0, rows * width, result.ravel(), into, channels, channels, pixels)


@compiled
def transpose_table(source, start, pitch, result, into, step, rows, columns):
    """Write row after row of a table, ``pitch`` apart, as columns into rows ``step`` apart.

    Args:
        source, result: Flat; the tables begin at ``start`` and at ``into``.
        rows, columns: Of the source.
    """
    whole = columns // WIDTH * WIDTH
    for top in range(0, rows, STRIP):
        bottom = min(top + STRIP, rows)
        inside = top + (bottom - top) // WIDTH * WIDTH
        for column in range(0, whole, WIDTH):
            for row in range(top, inside, WIDTH):
                place = start + row * pitch + column
                transpose(source, place, pitch, result, into + column * step + row, step)
        for row in range(top, bottom):
            for column in range(whole if row < inside else 0, columns):
                result[into + column * step + row] = source[start + row * pitch + column]
