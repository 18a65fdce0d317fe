"""What is in one image of the toy task.

The shape, size and texture of an object say nothing about its class. The class is the
colour of the object's companions: bars that lie 0.4 to 0.7 side lengths outside the box,
one to four of them, at most one on each side. A detector must look that far around the
object, so the larger the object, the larger the receptive field that it needs.
"""

from dataclasses import dataclass, replace

import numpy as np

CLASSES = ('near_red', 'near_green', 'near_blue')
COMPANION_COLOURS = ((225, 40, 40), (40, 190, 60), (50, 80, 235))
# The gap between box and companion, and the companion's thickness, in side lengths.
GAP = (0.4, 0.7)
THICKNESS = 0.25
SIDES = (8, 160)
ASPECTS = (0.5, 0.7, 1.0, 1.4, 2.0)


def unit_shapes():
    """Return the outlines, each a (points, 2) array that touches all sides of the unit square."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return {
        'rectangle': np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float),
        'ellipse': np.stack([0.5 + 0.5 * np.cos(turn), 0.5 + 0.5 * np.sin(turn)], 1),
        'diamond': np.array([(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]),
        'hexagon': np.array([(0.25, 0), (0.75, 0), (1, 0.5), (0.75, 1), (0.25, 1), (0, 0.5)]),
        'cross': np.array(
            [(0.3, 0), (0.7, 0), (0.7, 0.3), (1, 0.3), (1, 0.7), (0.7, 0.7)]
            + [(0.7, 1), (0.3, 1), (0.3, 0.7), (0, 0.7), (0, 0.3), (0.3, 0.3)]
        ),
    }


SHAPES = unit_shapes()


@dataclass(frozen=True)
class ToyObject:
    """An object and its companions; lengths in pixels, origin at the image's top left corner."""

    shape: str  # a key of SHAPES
    box: tuple  # x, y, width, height
    companions: tuple  # one to four bars, each x, y, width, height
    label: int  # index into CLASSES: the companions' colour, and nothing else
    texture_seed: int

    @property
    def side(self):
        """The geometric mean of width and height."""
        return float(np.sqrt(self.box[2] * self.box[3]))

    @property
    def polygon(self):
        """The outline, a (points, 2) array of x and y."""
        x, y, width, height = self.box
        return (SHAPES[self.shape] * (width, height) + (x, y)).round(2)


@dataclass(frozen=True)
class ToyScene:
    """A square image of ``size`` pixels a side."""

    size: int
    background_seed: int
    objects: tuple


def plan_scene(rng, size):
    """Choose the content of an image.

    Args:
        rng (numpy.random.Generator): Source of all choices.
        size (int): Side of the image in pixels.

    Returns:
        ToyScene: One to four objects whose boxes and companions do not overlap.
    """
    # The largest box must leave room for a companion.
    largest = min(SIDES[1], int(size / (1 + GAP[0] + THICKNESS)) - 2)
    low, high = np.log((SIDES[0], largest))
    sides = np.exp(rng.uniform(low, high, rng.integers(2, 5)))
    # One of the larger half in every image: they are few, and often find no room.
    sides[0] = np.exp(rng.uniform((low + high) / 2, high))
    objects = []
    for side in sorted(sides, reverse=True):
        for _ in range(60):
            item = propose_object(rng, size, side, largest)
            clear = tuple(bar for bar in item.companions if is_bar_clear(bar, item, objects))
            if clear and is_box_clear(item, objects):
                objects.append(replace(item, companions=clear))
                break
    return ToyScene(size, int(rng.integers(2**31)), tuple(objects))


def propose_object(rng, size, side, largest):
    """Place an object of about ``side`` pixels at random, with the companions that fit."""
    aspect = rng.choice(ASPECTS)
    width, height = (
        int(np.clip(round(side * ratio), SIDES[0], largest))
        for ratio in (np.sqrt(aspect), 1 / np.sqrt(aspect))
    )
    side = np.sqrt(width * height)
    thick = max(3, round(side * THICKNESS))
    gaps = np.ceil(side * rng.uniform(*GAP, 4)).astype(int)  # left, up, right, down
    # The bar on one side is made to fit, since few places would do for a large object.
    sure = rng.integers(4)
    gaps[sure] = min(gaps[sure], size - (width, height)[sure % 2] - thick)
    margins = np.where(np.arange(4) == sure, gaps + thick, 0)
    low, high = margins[:2], size - np.array([width, height]) - margins[2:]
    x, y = (int(value) for value in rng.integers(low, high + 1))
    left, up, right, down = (int(gap) for gap in gaps)
    bars = (
        (x - left - thick, y, thick, height),
        (x, y - up - thick, width, thick),
        (x + width + right, y, thick, height),
        (x, y + height + down, width, thick),
    )
    return ToyObject(
        shape=str(rng.choice(list(SHAPES))),
        box=(x, y, width, height),
        companions=tuple(bar for bar in bars if is_inside(bar, size)),
        label=int(rng.integers(len(CLASSES))),
        texture_seed=int(rng.integers(2**31)),
    )


def is_inside(bar, size):
    """Whether a bar lies in the image as a whole."""
    x, y, width, height = bar
    return min(x, y) >= 0 and max(x + width, y + height) <= size


def is_box_clear(item, objects):
    """Whether an object's box overlaps nothing and lies near no companion of its size."""
    return not any(
        overlap(item.box, other.box, margin=2)
        or any(overlap(item.box, bar, reach(item, other)) for bar in other.companions)
        for other in objects
    )


def is_bar_clear(bar, item, objects):
    """Whether a companion of ``item`` overlaps nothing and is not taken for another object's."""
    return not any(
        overlap(bar, other.box, reach(other, item))
        or any(overlap(bar, found, margin=2) for found in other.companions)
        for other in objects
    )


def reach(item, other):
    """How close to ``item``, in pixels, a companion of ``other`` would pass for its own."""
    # One that is much smaller or larger than its own is not mistaken.
    if max(item.side, other.side) > 2.5 * min(item.side, other.side):
        return 2
    return item.side * (GAP[1] + THICKNESS)


def overlap(one, other, margin):
    """Whether two boxes (x, y, width, height) are closer than ``margin`` pixels."""
    return all(
        one[axis] < other[axis] + other[axis + 2] + margin
        and other[axis] < one[axis] + one[axis + 2] + margin
        for axis in (0, 1)
    )
