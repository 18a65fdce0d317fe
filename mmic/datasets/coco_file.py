"""Read files in COCO's format, and refuse what is not, or what does not go together."""

import json
from collections import Counter
from pathlib import Path

from mmic.files import BadFileError

KEYS = ('images', 'annotations', 'categories')
# How many of the images that are wrong an error message names.
SHOWN = 5


def read_coco(path, keys=KEYS, say=lambda line: None):
    """Read and check a file in COCO's format.

    Args:
        path (str | Path): The file. Of train2017 it has 448 MB, so there is no bound.
        keys (Sequence[str]): The lists that it must hold, ``'images'`` among them.
        say (Callable[[str], None]): Gets a line with the file's name and size.

    Returns:
        dict: All that the file holds.

    Raises:
        BadFileError: See :func:`check_coco`, or not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    say(f'Reading {path} ({path.stat().st_size / 1e6:.1f} MB)')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise BadFileError(f'{path}: not a whole JSON file: {error}') from None
    check_coco(content, path, keys)
    return content


def check_coco(content, path, keys=KEYS):
    """Refuse what is not in COCO's format.

    Raises:
        BadFileError: A list is missing, an image lacks an integer id or a file name or has that
            of another image, or an annotation belongs to no image. The message names ``path``.
    """
    found = content if isinstance(content, dict) else {}
    missing = [key for key in keys if not isinstance(found.get(key), list)]
    if missing:
        raise BadFileError(
            f'{path}: not in COCO format, which is an object with the lists {", ".join(KEYS)}; '
            f'missing: {", ".join(missing)}.'
        )
    if not isinstance(content.get('info') or {}, dict):
        raise BadFileError(f'{path}: "info" must be an object, got {content["info"]!r}.')
    for key, kind in (('id', int), ('file_name', str)):
        values = [
            image.get(key) if isinstance(image, dict) else None for image in content['images']
        ]
        for index, value in enumerate(values):
            if type(value) is not kind:
                raise BadFileError(
                    f'{path}: not in COCO format: images[{index}] needs "{key}" of type '
                    f'{kind.__name__}, got {value!r}.'
                )
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise BadFileError(f'{path}: several images have the same {key}: {listed(twice)}.')
    if 'annotations' not in keys:
        return
    ids = set(image_names(content))
    for index, annotation in enumerate(content['annotations']):
        image = annotation.get('image_id') if isinstance(annotation, dict) else None
        if type(image) is not int or image not in ids:
            raise BadFileError(
                f'{path}: annotations[{index}] has the image_id {image!r}, which no image has.'
            )


def image_names(content):
    """Return ``file_name`` by image id."""
    return {image['id']: image['file_name'] for image in content['images']}


def check_disjoint(first, second, first_label, second_label):
    """Refuse two sets of images that share some.

    Args:
        first (Iterable): What identifies each image: ids where both sets come from files that
            number images alike, as those of COCO 2014 and 2017 do; else paths.
        second (Iterable): The same of the other set.
        first_label (str): What the message calls the first set.
        second_label (str): What the message calls the second set.

    Raises:
        ValueError: Some image is in both; the message names the first such images of ``first``.
    """
    second = set(second)
    shared = [image for image in dict.fromkeys(first) if image in second]
    if shared:
        raise ValueError(
            f'{first_label} and {second_label} share {len(shared)} image(s): {listed(shared)}. '
            'No image may be in both.'
        )


def check_apart(first, second, first_label, second_label):
    """Refuse shared ids and shared file names, from two files' ``image_names``."""
    check_disjoint(first, second, first_label, second_label)
    check_disjoint(first.values(), second.values(), first_label, second_label)


def check_numbered_alike(first, second, first_path, second_path):
    """Refuse files that give one id to different images, from their ``image_names``."""
    for image in first.keys() & second.keys():
        # 000000000042.jpg of 2017 is COCO_val2014_000000000042.jpg of 2014.
        ends = [Path(names[image]).name.rpartition('_')[2] for names in (first, second)]
        if ends[0] != ends[1]:
            raise ValueError(
                f'Image id {image} is {first[image]} in {first_path} and {second[image]} in '
                f'{second_path}; use the official files, which number images alike.'
            )


def listed(values):
    """The first values, separated by commas."""
    return ', '.join(map(str, values[:SHOWN])) + (', ...' if len(values) > SHOWN else '')
