"""ImageNet: a folder per class, and the lists that name the class of each image."""

from mmic.datasets.generated.scenes import TRAIN, VAL, draw_images, in_turn, save_image

# The first of the 1000, whose labels are 0, 1, 2: an image's class is that of its largest object.
SYNSETS = ('n01440764', 'n01443537', 'n01484850')


def write_imagenet(folder, num_train, num_val, seed, on_image):
    """Write ``train/``, ``val/`` and ``meta/``.

    MMPreTrain reads the lists in ``meta/`` where they are; without, it wants all 1000 folders.
    """
    (folder / 'meta').mkdir()
    for name, count, split in (('train', num_train, TRAIN), ('val', num_val, VAL)):
        lines = []
        images = draw_images((seed, split), in_turn(count), on_image)
        for index, (scene, image) in enumerate(images):
            label = scene.objects[0].label
            file = f'{SYNSETS[label]}/{SYNSETS[label]}_{index}.JPEG'
            save_image(image, folder / name / file)
            lines.append(f'{file} {label}\n')
        (folder / 'meta' / f'{name}.txt').write_text(''.join(lines))
