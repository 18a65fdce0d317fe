"""Split files in COCO's format, so that a search chooses on images it was not trained on.

NATS trains the weights on COCO train2014 and the alphas on the 35K images of val2014 that are
not in minival (paper, section 4.1). CR-NAS trains its supernets on ``archtrain`` and compares
networks on ``archval``, 5K held-out training images (paper, section 4.1).
"""

import json
import random
from pathlib import Path

from mmic.datasets.coco_file import (
    KEYS,
    check_apart,
    check_coco,
    check_numbered_alike,
    image_names,
    listed,
    read_coco,
)
from mmic.files import check_new, write_file


def split_nats(
    train,
    val,
    minival,
    out_dir,
    names=('nats_weights', 'nats_alpha'),
    overwrite=False,
    say=lambda line: None,
):
    """Write the two splits of the NATS search on COCO.

    Split 1, for the weights, is ``train`` less the images of ``val``. Split 2, for the alphas,
    is ``val`` less ``minival``. Where ``train`` holds the images of split 2, as train2017 does,
    they are taken from there, and from ``val`` otherwise: so ``file_name`` is always that of
    the folder of images which belongs to the file they are taken from.

    Args:
        train (str | Path): Annotations of train2014 or train2017.
        val (str | Path): Annotations of val2014. With train2017 only its images are read, so
            that its keypoint or caption annotations serve as well.
        minival (str | Path): Annotations of val2017, which is minival. Only images are read.
        out_dir (str | Path): Where the files go.
        names (tuple[str, str]): Names of the files of split 1 and 2, with or without
            ``.json``. Defaults to ``('nats_weights', 'nats_alpha')``.
        overwrite (bool): Whether existing files may be replaced. Defaults to False.
        say (Callable[[str], None]): Gets a line on every file read and written.

    Returns:
        tuple[Path, Path]: The files written.

    Raises:
        BadFileError: A file is not in COCO's format.
        ValueError: The files do not belong together, or a split would be empty.
        FileExistsError: A file to write exists and ``overwrite`` is False.
    """
    paths = output_paths(out_dir, names, (train, val, minival), overwrite)
    train_content = read_coco(train, KEYS, say)
    val_content, minival_content = (read_coco(path, ['images'], say) for path in (val, minival))
    train_names, val_names, minival_names = map(
        image_names, (train_content, val_content, minival_content)
    )
    check_numbered_alike(train_names, val_names, train, val)
    check_numbered_alike(minival_names, val_names, minival, val)
    check_apart(train_names, minival_names, train, minival)
    strangers = [image for image in minival_names if image not in val_names]
    if strangers:
        raise ValueError(
            f'{len(strangers)} image(s) of {minival} are not in {val}: {listed(strangers)}. '
            'minival is part of val2014.'
        )
    alpha = val_names.keys() - minival_names.keys()
    inside = alpha & train_names.keys()
    if inside and inside != alpha:
        raise ValueError(
            f'{train} holds {len(inside)} of the {len(alpha)} images of {val} that are not in '
            f'{minival}; train2014 holds none of them and train2017 all.'
        )
    source, content = (train, train_content) if inside else (val, val_content)
    check_coco(content, source, KEYS)
    used = dict(train=Path(train).name, val=Path(val).name, minival=Path(minival).name)
    weights = train_names.keys() - val_names.keys()
    splits = [(train, train_content, weights), (source, content, alpha)]
    return write_splits(splits, paths, dict(method='nats', **used), overwrite, say)


def split_holdout(
    source,
    out_dir,
    num=None,
    fraction=None,
    seed=0,
    names=None,
    minival=None,
    overwrite=False,
    say=lambda line: None,
):
    """Hold images out of a file at random and write both parts.

    The draw depends on the image ids and the seed alone, not on the order in the file. Of the
    same seed, fewer held-out images are among the more.

    Args:
        source (str | Path): Any annotations in COCO's format.
        out_dir (str | Path): Where the files go.
        num (int, optional): How many images to hold out. Either it or ``fraction``.
        fraction (float, optional): Which share of the images to hold out, rounded to images.
        seed (int): Seed of the draw, at least 0. Defaults to 0.
        names (tuple[str, str], optional): Names of the files of the images kept and held out,
            with or without ``.json``. Defaults to the source's with ``_train`` and ``_heldout``.
        minival (str | Path, optional): File of images that must not be in ``source``, as final
            results are measured on them. Defaults to None.
        overwrite (bool): Whether existing files may be replaced. Defaults to False.
        say (Callable[[str], None]): Gets a line on every file read and written.

    Returns:
        tuple[Path, Path]: The files written, of the images kept and held out.

    Raises:
        BadFileError: A file is not in COCO's format.
        ValueError: ``num``, ``fraction``, ``seed`` or ``names`` cannot be used, or an image of
            ``minival`` is in ``source``.
        FileExistsError: A file to write exists and ``overwrite`` is False.
    """
    if (num is None) == (fraction is None):
        raise ValueError(f'Give either num or fraction, got {num!r} and {fraction!r}.')
    if fraction is not None and not 0 < fraction < 1:
        raise ValueError(f'fraction must be above 0 and below 1, got {fraction!r}.')
    check_integer('seed', seed, 0)  # random.Random draws alike for -1 and 1
    if num is not None:
        check_integer('num', num, 1)
    stem = Path(source).stem
    names = names or (f'{stem}_train', f'{stem}_heldout')
    used = [source] if minival is None else [source, minival]
    paths = output_paths(out_dir, names, used, overwrite)
    content = read_coco(source, KEYS, say)
    images = image_names(content)
    if minival is not None:
        check_apart(images, image_names(read_coco(minival, ['images'], say)), source, minival)
    record = dict(method='holdout', seed=seed)
    if fraction is not None:
        num = round(fraction * len(images))
        record['fraction'] = fraction
    if not 1 <= num < len(images):
        raise ValueError(
            f'{source}: {num} of its {len(images)} images cannot be held out; at least one image '
            'must be in either part.'
        )
    held_out = draw(images, num, seed)
    splits = [(source, content, images.keys() - held_out), (source, content, held_out)]
    return write_splits(splits, paths, record, overwrite, say)


def draw(ids, num, seed):
    """Draw ``num`` image ids.

    Returns:
        set[int]
    """
    # Python keeps this sequence of random() in all versions, which it does not of sample().
    numbers = random.Random(seed)
    return set(sorted(sorted(ids), key=lambda _: numbers.random())[:num])


def check_integer(name, value, lowest):
    if type(value) is not int or value < lowest:
        raise ValueError(f'{name} must be an integer from {lowest}, got {value!r}.')


def output_paths(out_dir, names, sources, overwrite):
    """Return the two files to write; raise before any work if one cannot be written."""
    out_dir = Path(out_dir)
    if out_dir.exists() and not out_dir.is_dir():
        raise NotADirectoryError(f'{out_dir} is a file; name a folder.')
    paths = []
    for name in names:
        if not name or Path(name).name != name:
            raise ValueError(f'{name!r} is no name of a file; the folder is given as out_dir.')
        paths.append(out_dir / (name if name.endswith('.json') else f'{name}.json'))
    if len(paths) != 2 or paths[0] == paths[1]:
        raise ValueError(f'Two different names are needed, got {", ".join(names)}.')
    for path in paths:
        if path.resolve() in [Path(source).resolve() for source in sources]:
            raise ValueError(f'{path} is read, so it cannot be written; choose another name.')
        check_new(path, overwrite)
    return tuple(paths)


def select_images(content, ids, record):
    """Return the part of a file that belongs to some images, in the file's order.

    Args:
        content (dict): A file in COCO's format.
        ids (Collection[int]): The images to keep, with their annotations.
        record (dict): Goes into the part's ``info``, under ``split``.

    Returns:
        dict: ``content`` with fewer images and annotations; all else is kept.
    """
    info = content.get('info') or {}
    if 'split' in info:
        record = dict(record, source_split=info['split'])
    return dict(
        content,
        info=dict(info, split=record),
        images=[image for image in content['images'] if image['id'] in ids],
        annotations=[item for item in content['annotations'] if item['image_id'] in ids],
    )


def write_splits(splits, paths, record, overwrite, say):
    """Check that both splits hold images and share none, then write them.

    Args:
        splits (list[tuple[Path, dict, Collection[int]]]): Source file, its content, image ids.
        paths (tuple[Path, Path]): The files to write.
        record (dict): How the splits were made.
        overwrite (bool): Whether existing files may be replaced.
        say (Callable[[str], None]): Gets a line on every file written.

    Returns:
        tuple[Path, Path]: ``paths``.
    """
    parts = []
    for (source, content, ids), path in zip(splits, paths):
        if not ids:
            raise ValueError(f'{path.stem} would be empty: no image of {source} is left for it.')
        record = dict(record, name=path.stem, source=Path(source).name, num_images=len(ids))
        parts.append(select_images(content, ids, record))
    check_apart(*map(image_names, parts), *(path.stem for path in paths))
    for part, path, (source, _, _) in zip(parts, paths, splits):
        # dumps, since dump encodes in Python and takes minutes for train2017.
        write_file(path, lambda name, part=part: Path(name).write_text(json.dumps(part)), overwrite)
        say(
            f'Wrote {path}: {len(part["images"])} images, {len(part["annotations"])} annotations '
            f'of {source}; the first image is {part["images"][0]["file_name"]}'
        )
    return paths
