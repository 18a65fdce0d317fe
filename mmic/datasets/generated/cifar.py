"""CIFAR-10 and CIFAR-100: images of 32 pixels a side in Python's pickle format."""

import functools
import pickle

import numpy as np
from PIL import Image

from mmic.datasets.generated.scenes import TRAIN, VAL, draw_images, in_turn

SIDE = 32
# The superclass, of 20, that CIFAR-100 has its first three classes in.
SUPERCLASSES = (4, 1, 14)


def write_cifar(folder, num_train, num_val, seed, on_image, fine=False):
    """Write the batches of CIFAR-10, or with ``fine`` those of CIFAR-100.

    An image's class is one of the first three, that of its largest object.
    """
    train = draw_small((seed, TRAIN), num_train, on_image)
    test = draw_small((seed, VAL), num_val, on_image)
    if fine:
        batches = dict(train=train, test=test)
        folder = folder / 'cifar-100-python'
    else:
        parts = zip(*(np.array_split(values, 5) for values in train))
        batches = {f'data_batch_{index}': part for index, part in enumerate(parts, 1)}
        batches['test_batch'] = test
        folder = folder / 'cifar-10-batches-py'
    folder.mkdir()
    for name, (data, labels) in batches.items():
        content = dict(batch_label=f'generated {name}', data=data)
        if fine:
            content['fine_labels'] = labels.tolist()
            content['coarse_labels'] = [SUPERCLASSES[label] for label in labels]
        else:
            content['labels'] = labels.tolist()
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def draw_small(seed, count, on_image):
    """Draw images and make them small.

    Returns:
        tuple[numpy.ndarray, numpy.ndarray]: (count, 3072) uint8, all red values of an image, then
        green, then blue, each row by row; and the labels, (count,).
    """
    data = np.empty((count, 3, SIDE, SIDE), np.uint8)
    labels = np.array(in_turn(count))
    for index, (_, image) in enumerate(draw_images(seed, labels, on_image)):
        small = image.resize((SIDE, SIDE), Image.BOX)
        data[index] = np.asarray(small).transpose(2, 0, 1)
    return data.reshape(count, -1), labels


write_cifar100 = functools.partial(write_cifar, fine=True)
