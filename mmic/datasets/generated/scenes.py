"""What the generated images show: scenes of the toy task, with classes that all data sets have."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mmic.datasets.toy_draw import SUPERSAMPLE, draw_scene
from mmic.datasets.toy_scene import plan_scene

# Names of the toy task's classes, in its order.
CLASSES = ('person', 'car', 'bicycle')
PERSON = 0
SIZE = 192  # pixels a side of every image but CIFAR's
# Configs ignore objects of VOC below 32 pixels; every image keeps one.
LARGEST_FROM, OTHERS_FROM = 36, 16
# Second part of the seed, so that the images of two splits differ.
TRAIN, VAL = 0, 1
# Pixels that segmentation counts for no class, and how many there are from an outline inwards.
VOID, VOID_WIDTH = 255, 3


def draw_images(seed, labels, on_image):
    """Plan and draw the images of a split, one after the other.

    Args:
        seed (tuple[int, int]): Seed of the data, and number of the split.
        labels (Sequence[int]): Of each image, the class of its largest object.
        on_image (Callable[[], None], optional): Called when the caller is done with an image.

    Yields:
        tuple[ToyScene, PIL.Image.Image]: Two to four objects, the largest first, with sides of at
        least 36 pixels, of others 16; and the image of 192 pixels a side that shows them.
    """
    for index, label in enumerate(labels):
        scene = plan_image(np.random.default_rng((*seed, index)), label)
        yield scene, Image.fromarray(draw_scene(scene))
        if on_image:
            on_image()


def plan_image(rng, label):
    """Plan scenes until one has several objects of some size, and give the largest its class."""
    while True:
        scene = plan_scene(rng, SIZE)
        objects = [item for item in scene.objects if min(item.box[2:]) >= OTHERS_FROM]
        if len(objects) > 1 and min(objects[0].box[2:]) >= LARGEST_FROM:
            return replace(scene, objects=(replace(objects[0], label=label), *objects[1:]))


def persons(count):
    """Labels with which every image has a person."""
    return [PERSON] * count


def in_turn(count):
    """Labels that give each class as many images as the others, for classification."""
    return [index % len(CLASSES) for index in range(count)]


def label_map(scene, class_ids, background):
    """Draw the class of every pixel.

    Args:
        scene (ToyScene): Objects that do not overlap.
        class_ids (Sequence[int]): Value of each of ``CLASSES``.
        background (int): Value of what is no object.

    Returns:
        PIL.Image.Image: Mode L. Objects have the value 255 for 3 pixels inwards of their outline.
    """
    labels = Image.new('L', (scene.size, scene.size), background)
    for item in scene.objects:
        # Drawn larger, as the image is: the value becomes the share of the pixel that is covered.
        covered = Image.new('L', (SUPERSAMPLE * scene.size,) * 2)
        # A pixel's centre, not its corner, lies at its integer coordinate in a PIL polygon.
        points = [tuple(point) for point in item.polygon * SUPERSAMPLE - 0.5]
        ImageDraw.Draw(covered).polygon(points, fill=255)
        covered = covered.resize(labels.size, Image.BOX)
        inside = covered.filter(ImageFilter.MinFilter(2 * VOID_WIDTH + 1))
        labels.paste(VOID, mask=covered.point(lambda share: 255 * (share >= 128)))
        labels.paste(class_ids[item.label], mask=inside.point(lambda share: 255 * (share == 255)))
    return labels


def save_image(image, path):
    """Save an image, in the format of the path's suffix, and make the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95, compress_level=4)
