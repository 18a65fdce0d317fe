"""Draw the images of the toy task."""

import numpy as np
from PIL import Image, ImageDraw

from mmic.datasets.toy_scene import COMPANION_COLOURS

# Objects are drawn this many times larger, then reduced, which smooths their edges.
SUPERSAMPLE = 4


def draw_scene(scene):
    """Draw a scene.

    Args:
        scene (ToyScene): What to draw.

    Returns:
        numpy.ndarray: (size, size, 3) RGB image, uint8.
    """
    image = draw_clutter(np.random.default_rng(scene.background_seed), scene.size)
    for item in scene.objects:
        draw_shape(image, item.polygon, draw_texture(item))
        for x, y, width, height in item.companions:
            image.paste(COMPANION_COLOURS[item.label], (x, y, x + width, y + height))
    return np.asarray(image)


def muted_colours(rng, count):
    """Return ``count`` RGB colours, none as vivid as a companion's."""
    grey = rng.integers(60, 200, (count, 1))
    return [tuple(int(v) for v in colour) for colour in grey + rng.integers(-10, 11, (count, 3))]


def draw_clutter(rng, size):
    """Draw a background of patches, noise, lines and empty outlines."""
    image = Image.new('RGB', (size, size), muted_colours(rng, 1)[0])
    draw = ImageDraw.Draw(image)
    for kind in rng.permutation(['patch'] * 8 + ['noise'] * 4 + ['line'] * 8 + ['outline'] * 5):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        width, height = (int(v) for v in rng.integers(6, size // 3, 2))
        colour = muted_colours(rng, 1)[0]
        if kind == 'patch':
            draw.rectangle((x, y, x + width, y + height), fill=colour)
        elif kind == 'line':
            draw.line((x, y, x + width, y + height), fill=colour, width=int(rng.integers(1, 4)))
        elif kind == 'outline':
            draw.ellipse((x, y, x + width, y + height), outline=colour, width=2)
        else:
            image.paste(draw_noise(rng, (width, height), colour), (x, y))
    return image


def draw_noise(rng, size, colour):
    """Draw a patch of 3-pixel cells around a colour; size is (width, height) in pixels."""
    cells = rng.integers(-24, 25, (size[1] // 3 + 1, size[0] // 3 + 1, 1)) + np.array(colour)
    cells = Image.fromarray(cells.clip(0, 255).astype(np.uint8))
    return cells.resize(size, Image.NEAREST)


def draw_texture(item):
    """Draw what fills an object, the size of its box: checks, or stripes either way."""
    rng = np.random.default_rng(item.texture_seed)
    width, height = item.box[2:]
    dark = rng.integers(20, 80) + rng.integers(-10, 11, 3)
    colours = np.array([dark, dark + rng.integers(80, 140)], np.uint8)
    period = max(2, int(item.side * rng.uniform(0.08, 0.2)))
    rows, columns = np.indices((height, width)) // period
    odd = [rows + columns, rows, columns][rng.integers(3)] % 2
    return Image.fromarray(colours[odd])


def draw_shape(image, polygon, texture):
    """Paste ``texture`` into ``image`` inside ``polygon``, whose bounding box has its size."""
    corner = np.floor(polygon.min(0)).astype(int)
    mask = Image.new('L', tuple(SUPERSAMPLE * side for side in texture.size))
    # A pixel's centre, not its corner, lies at its integer coordinate in a PIL polygon.
    points = (polygon - corner) * SUPERSAMPLE - 0.5
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points], fill=255)
    image.paste(texture, tuple(int(v) for v in corner), mask.resize(texture.size, Image.BOX))
