"""The toy task: a generated data set in COCO's format that rewards receptive field."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mmic.datasets.made_folder import make_folder
from mmic.datasets.toy_draw import draw_scene
from mmic.datasets.toy_scene import CLASSES, SIDES, plan_scene

KEYPOINTS = ('centre', 'top', 'right', 'bottom', 'left')
# The file that marks a folder as made here; it holds the parameters.
MARKER = 'toy_coco.json'
# Raise it whenever equal parameters would make other images or annotations.
VERSION = 1
SMALLEST_IMAGE = 192


def make_toy_coco(
    root, num_train=400, num_val=120, image_size=256, seed=0, overwrite=False, on_image=None
):
    """Make the toy task, or find that it is there already.

    The folder gets ``train/``, ``val/`` (PNG images) and ``annotations/{train,val}.json`` with
    boxes, polygons, areas and five keypoints an object. Equal parameters make equal bytes.
    The folder appears under its name only when it is complete.

    Args:
        root (str | Path): The folder to make. Missing parents are made.
        num_train (int): Number of training images. Defaults to 400.
        num_val (int): Number of validation images. Defaults to 120.
        image_size (int): Side of the square images in pixels, at least 192. Defaults to 256.
        seed (int): Seed of everything random, at least 0. Defaults to 0.
        overwrite (bool): Whether to replace a folder made by this function with other
            parameters. No other folder is ever replaced. Defaults to False.
        on_image (Callable[[], None], optional): Called after each image is written.

    Returns:
        Path: ``root``.

    Raises:
        ValueError: A number is not an integer or too small.
        FileExistsError: ``root`` holds something else, or the toy task with other parameters
            and ``overwrite`` is False.
    """
    root = Path(root)
    parameters = dict(
        version=VERSION, num_train=num_train, num_val=num_val, image_size=image_size, seed=seed
    )
    lowest = dict(version=1, num_train=1, num_val=1, image_size=SMALLEST_IMAGE, seed=0)
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest[name]:
            raise ValueError(f'{name} must be an integer from {lowest[name]}, got {value!r}.')

    def write(folder):
        (folder / 'annotations').mkdir()
        for index, (split, count) in enumerate((('train', num_train), ('val', num_val))):
            write_split(folder, split, count, image_size, (seed, index), on_image)

    return make_folder(root, MARKER, parameters, write, 'the toy data generator', overwrite)


def write_split(root, split, count, image_size, seed, on_image):
    """Write the images and the annotation file of one split."""
    (root / split).mkdir()
    images, annotations = [], []
    for index in range(count):
        # Seeded by image, so that more images of the same seed begin with the same ones.
        scene = plan_scene(np.random.default_rng((*seed, index)), image_size)
        name = f'{index:06d}.png'
        Image.fromarray(draw_scene(scene)).save(root / split / name, compress_level=4)
        images.append(dict(id=index + 1, file_name=name, width=image_size, height=image_size))
        for item in scene.objects:
            annotations.append(dict(id=len(annotations) + 1, image_id=index + 1, **describe(item)))
        if on_image:
            on_image()
    skeleton = [[1, 1 + other] for other in range(1, len(KEYPOINTS))]
    categories = [
        dict(id=index + 1, name=name, supercategory='toy', keypoints=KEYPOINTS, skeleton=skeleton)
        for index, name in enumerate(CLASSES)
    ]
    content = dict(
        info=dict(description=f'mmic toy task, {split}, object sides {SIDES[0]} to {SIDES[1]} px'),
        licenses=[],
        categories=categories,
        images=images,
        annotations=annotations,
    )
    (root / 'annotations' / f'{split}.json').write_text(json.dumps(content) + '\n')


def describe(item):
    """Return the COCO annotation of a ToyObject, less its ids."""
    polygon = item.polygon
    x, y = polygon.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    points = keypoints(item)
    return dict(
        category_id=item.label + 1,
        bbox=list(item.box),
        area=round(float(area), 2),
        iscrowd=0,
        segmentation=[polygon.ravel().tolist()],
        # 2: labelled and visible. Nothing is hidden, since objects do not overlap.
        keypoints=[value for point in points for value in (*point, 2)],
        num_keypoints=len(points),
    )


def keypoints(item):
    """Return the (x, y) of a ToyObject's centre and of its outline's four extremes, in pixels."""
    x, y, width, height = item.box
    centre = (x + width / 2, y + height / 2)
    # Every outline is symmetric, so an extreme edge's middle is above, below or beside the centre.
    return [
        centre,
        (centre[0], y),
        (x + width, centre[1]),
        (centre[0], y + height),
        (x, centre[1]),
    ]
