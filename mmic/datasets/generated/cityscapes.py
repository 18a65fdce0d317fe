"""Cityscapes: street images and the training class of every pixel."""

from mmic.datasets.generated.scenes import (
    TRAIN,
    VAL,
    draw_images,
    label_map,
    persons,
    save_image,
)

CITY = 'toytown'
# Of the 19 classes of training: CLASSES, and road, which is all that is no object.
CLASS_IDS, ROAD = (11, 13, 18), 0


def write_cityscapes(folder, num_train, num_val, seed, on_image):
    """Write ``leftImg8bit/`` and ``gtFine/``, of which configs read the labelTrainIds alone."""
    for name, count, split in (('train', num_train, TRAIN), ('val', num_val, VAL)):
        images = draw_images((seed, split), persons(count), on_image)
        for index, (scene, image) in enumerate(images):
            stem = f'{name}/{CITY}/{CITY}_{index:06d}_000019'
            save_image(image, folder / 'leftImg8bit' / f'{stem}_leftImg8bit.png')
            labels = label_map(scene, CLASS_IDS, background=ROAD)
            save_image(labels, folder / 'gtFine' / f'{stem}_gtFine_labelTrainIds.png')
