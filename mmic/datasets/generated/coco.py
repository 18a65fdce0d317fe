"""COCO: boxes, polygons and persons' keypoints, and the splits of the searches."""

import json

from mmic.datasets.coco_split import split_holdout, split_nats
from mmic.datasets.generated.coco_categories import CATEGORY_IDS, KEYPOINTS, SKELETON
from mmic.datasets.generated.scenes import (
    CLASSES,
    PERSON,
    SIZE,
    TRAIN,
    VAL,
    draw_images,
    persons,
    save_image,
)
from mmic.datasets.toy import describe

INSTANCES = [dict(id=number, name=name) for name, number in CATEGORY_IDS.items()]
PERSONS = [dict(id=1, name='person', keypoints=list(KEYPOINTS), skeleton=SKELETON)]


def write_coco(folder, num_train, num_val, seed, on_image):
    """Write COCO 2017, what the searches need of 2014, and the splits that they read.

    The second half of train2017 and all of val2017 are in val2014 too, as some of COCO's are.
    Of 2014 there are annotations alone, since no config reads its images.
    """
    numbers = range(1, num_train + num_val + 1)
    train = write_images(folder / 'train2017', numbers[:num_train], (seed, TRAIN), on_image)
    val = write_images(folder / 'val2017', numbers[num_train:], (seed, VAL), on_image)
    annotations = folder / 'annotations'
    annotations.mkdir()
    for name, scenes in (('train2017', train), ('val2017', val)):
        write_annotations(annotations / f'instances_{name}.json', scenes)
        write_annotations(annotations / f'person_keypoints_{name}.json', scenes, keypoints=True)
    both = [*list(train.items())[num_train // 2 :], *val.items()]
    write_annotations(annotations / 'instances_val2014.json', dict(both), prefix='COCO_val2014_')
    write_splits(annotations)


def write_images(folder, numbers, seed, on_image):
    """Write images; return their scenes by image id."""
    scenes = {}
    images = draw_images(seed, persons(len(numbers)), on_image)
    for (scene, image), number in zip(images, numbers):
        save_image(image, folder / f'{number:012d}.jpg')
        scenes[number] = scene
    return scenes


def write_annotations(path, scenes, keypoints=False, prefix=''):
    """Write one annotation file.

    Args:
        path (Path): The file.
        scenes (dict[int, ToyScene]): The images' content by image id.
        keypoints (bool): Whether to write persons alone, with keypoints. Defaults to False.
        prefix (str): What image file names begin with. Defaults to ''.
    """
    images, annotations = [], []
    for number, scene in scenes.items():
        name = f'{prefix}{number:012d}.jpg'
        images.append(dict(id=number, file_name=name, width=SIZE, height=SIZE))
        # The same object has the same id in every file.
        for index, item in enumerate(scene.objects):
            if item.label == PERSON or not keypoints:
                ids = dict(id=10 * number + index, image_id=number)
                annotations.append(dict(ids, **annotate(item, keypoints)))
    content = dict(
        info=dict(description='generated data in the format of COCO'),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=PERSONS if keypoints else INSTANCES,
    )
    path.write_text(json.dumps(content) + '\n')


def annotate(item, keypoints):
    """Return the annotation of a ToyObject, less its ids."""
    annotation = describe(item)
    del annotation['keypoints'], annotation['num_keypoints']
    annotation['category_id'] = CATEGORY_IDS[CLASSES[item.label]]
    if keypoints:
        x, y, width, height = item.box
        places = [(x + across * width, y + down * height) for across, down in KEYPOINTS.values()]
        # 2: labelled and visible.
        annotation['keypoints'] = [v for a, b in places for v in (round(a, 2), round(b, 2), 2)]
        annotation['num_keypoints'] = len(KEYPOINTS)
    return annotation


def write_splits(annotations):
    """Write what ``tools/coco_split.py`` makes of COCO for NATS and CR-NAS."""
    train, val, minival = (
        annotations / f'instances_{name}.json' for name in ('train2017', 'val2014', 'val2017')
    )
    split_nats(train, val, minival, annotations)
    names = ('archtrain', 'archval')
    split_holdout(train, annotations, fraction=0.5, names=names, minival=minival)
