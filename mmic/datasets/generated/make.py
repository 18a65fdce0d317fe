"""Make generated data in the formats of the data sets that configs name."""

from pathlib import Path

from mmic.datasets.coco_split import check_integer
from mmic.datasets.generated.cifar import write_cifar, write_cifar100
from mmic.datasets.generated.cityscapes import write_cityscapes
from mmic.datasets.generated.coco import write_coco
from mmic.datasets.generated.crowdhuman import write_crowdhuman
from mmic.datasets.generated.imagenet import write_imagenet
from mmic.datasets.generated.scenes import SIZE
from mmic.datasets.generated.toy_coco import write_toy_coco
from mmic.datasets.generated.voc import write_voc
from mmic.datasets.made_folder import is_made, make_folder

# A format's name is that of its folder below ``data/``.
FORMATS = {
    'CrowdHuman': write_crowdhuman,
    'VOCdevkit': write_voc,
    'cifar10': write_cifar,
    'cifar100': write_cifar100,
    'cityscapes': write_cityscapes,
    'coco': write_coco,
    'imagenet': write_imagenet,
    'toy_coco': write_toy_coco,
}
# The file that marks a format's folder as made here; it holds the parameters.
MARKER = 'generated.json'
MAKER = 'tools/generated_data.py'
# Raise it whenever equal parameters would make other files.
VERSION = 1


def make_generated(
    root, formats=None, num_train=8, num_val=4, seed=0, overwrite=False, on_image=None
):
    """Make generated data in the formats of real data sets, or find that it is there already.

    What configs name ``data/coco/...`` lies at ``root/coco/...``, and so on. Equal parameters make
    equal bytes. A format's folder appears under its name only when it is complete.

    Args:
        root (str | Path): The folder that stands for ``data/``. Missing folders are made.
        formats (Sequence[str], optional): Some of ``FORMATS``. Defaults to all.
        num_train (int): Images of each training set, at least 2, since the searches' splits take
            some from the others. Defaults to 8.
        num_val (int): Images of each validation or test set. Defaults to 4.
        seed (int): Seed of everything random, at least 0. Defaults to 0.
        overwrite (bool): Whether to replace folders made by this function with other parameters.
            No other folder is ever replaced. Defaults to False.
        on_image (Callable[[], None], optional): Called after each image is written.

    Returns:
        Path: ``root``.

    Raises:
        ValueError: There is no such format, or a number is not an integer or too small.
        FileExistsError: A format's folder holds something else, or generated data with other
            parameters and ``overwrite`` is False. Then nothing is written at all.
    """
    root = Path(root)
    formats = list(FORMATS) if formats is None else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(
            f'There is no format {", ".join(map(repr, unknown))}; there are: {", ".join(FORMATS)}.'
        )
    check_integer('num_train', num_train, 2)
    check_integer('num_val', num_val, 1)
    check_integer('seed', seed, 0)
    parameters = dict(
        version=VERSION, num_train=num_train, num_val=num_val, image_size=SIZE, seed=seed
    )
    for name in formats:
        is_made(root / name, MARKER, parameters, MAKER, overwrite)
    for name in formats:

        def write(folder, name=name):
            FORMATS[name](folder, num_train, num_val, seed, on_image)

        make_folder(root / name, MARKER, parameters, write, MAKER, overwrite)
    return root
