"""Draw detections side by side: images down, detectors across, with boxes and masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.6  # of a picture, in inches
FONT = 6.5  # of a label, in points
Colour = Tuple[float, float, float]
Label = Tuple[float, float, float]


class Instance(NamedTuple):
    """An object to draw.

    Attributes:
        box (list[float]): x1, y1, x2, y2 in pixels.
        name (str): Of its class.
        colour (tuple[float, float, float]): RGB, 0 to 1.
        score (float, optional): From 0 to 1; None for ground truth.
        mask (ndarray, optional): bool, of the image's shape (H, W).
    """

    box: List[float]
    name: str
    colour: Colour
    score: Optional[float] = None
    mask: Optional[np.ndarray] = None


def detections_figure(images: Dict[str, str], columns: Dict[str, List[List[Instance]]]) -> 'Figure':
    """Draw a grid of images.

    Args:
        images (dict[str, str]): Label to image file, one row each.
        columns (dict[str, list[list[Instance]]]): Title to what is drawn on each image.

    Returns:
        matplotlib.figure.Figure

    Raises:
        ValueError: A column has not one entry for each image.
        OSError: An image cannot be read.
    """
    # Without pyplot no backend is chosen and no figure is left open: it is drawn by Agg.
    from matplotlib.figure import Figure

    for title, found in columns.items():
        if len(found) != len(images):
            raise ValueError(f'{title!r}: {len(found)} entries for {len(images)} images.')
    pictures = [read_image(path) for path in images.values()]
    heights = [WIDTH * picture.height / picture.width for picture in pictures]
    figure = Figure(figsize=(WIDTH * len(columns) + 0.3, sum(heights) + 0.4), layout='constrained')
    grid = figure.subplots(
        len(images), len(columns), squeeze=False, gridspec_kw=dict(height_ratios=heights)
    )
    for row, (label, picture) in enumerate(zip(images, pictures)):
        for axes, (title, found) in zip(grid[row], columns.items()):
            axes.imshow(picture)
            # The best detections lie on top, and choose the places of their labels first.
            best = sorted(found[row], key=lambda one: -(one.score or 0))
            for instance in reversed(best):
                draw_instance(axes, instance)
            labels = []
            for instance in best:
                labels.append(draw_label(axes, instance, picture.size, labels))
            # A box that reaches over the border would shrink its picture.
            axes.set(xlim=(-0.5, picture.width - 0.5), ylim=(picture.height - 0.5, -0.5))
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(title, fontsize=10)
        grid[row, 0].set_ylabel(label, fontsize=8)
    return figure


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB, turned as its EXIF says: OpenMMLab's pipelines do so too.

    Raises:
        OSError: There is none, or it is no image.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no image {path}.')
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert('RGB')


def draw_instance(axes: 'Axes', instance: Instance) -> None:
    """Draw a mask with its outline, and a box."""
    if instance.mask is not None and instance.mask.any():
        shade = np.zeros((*instance.mask.shape, 4))
        shade[instance.mask] = (*instance.colour, 0.45)
        axes.imshow(shade, interpolation='nearest')
        if not instance.mask.all():
            axes.contour(instance.mask, levels=[0.5], colors=[instance.colour], linewidths=0.8)
    x1, y1, x2, y2 = instance.box
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=instance.colour, linewidth=1.4)


def draw_label(
    axes: 'Axes', instance: Instance, size: Tuple[int, int], taken: List[Label]
) -> Label:
    """Write class and score above a box, inside it at the border, below labels that are there.

    Args:
        axes (Axes): Shows the image, ``WIDTH`` inches wide.
        instance (Instance): Whose label it is.
        size (tuple[int, int]): Width and height of the image in pixels.
        taken (list[tuple]): Labels that are there: left, right and lower edge in pixels.

    Returns:
        tuple: The same of this one.
    """
    text = instance.name if instance.score is None else f'{instance.name} {instance.score:.2f}'
    # A typographic point in pixels of the image. Letters are about 0.6 of their size wide.
    point = size[0] / (72 * WIDTH)
    width, height = (0.6 * FONT * len(text) + 2) * point, (FONT + 3) * point
    x = max(point, min(instance.box[0], size[0] - width - point))
    y = max(instance.box[1], height) - point
    for left, right, lower in sorted(taken, key=lambda label: label[2]):
        if left < x + width and x < right and abs(lower - y) < height:
            y = lower + height
    axes.text(
        x,
        y,
        text,
        fontsize=FONT,
        color='white',
        verticalalignment='bottom',
        clip_on=True,
        bbox=dict(facecolor=instance.colour, edgecolor='none', pad=0.8, alpha=0.85),
    )
    return x, x + width, y
