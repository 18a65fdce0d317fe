"""Run trained detectors of MMDetection on chosen images of a data set, to draw what they find."""

from itertools import islice
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmic.analysis.detections import Colour, Instance
from mmic.checkpoint import load_strictly, read_state_dict

if TYPE_CHECKING:
    from mmengine.dataset import BaseDataset

# How many ids an error message lists.
SHOWN = 8


def load_detector(
    cfg: Config, checkpoint: str, trust: bool = False, device: str = 'cpu'
) -> nn.Module:
    """Build a config's detector with the weights of a checkpoint.

    Args:
        cfg (Config): Of a detector of MMDetection.
        checkpoint (str): It must hold exactly the network's tensors.
        trust (bool): See ``read_checkpoint``. Defaults to False.
        device (str): Defaults to ``'cpu'``.

    Returns:
        nn.Module: In eval mode, with the config as ``cfg``.

    Raises:
        ValueError: No detector, or the checkpoint does not fit it.
    """
    from mmdet.models.detectors import BaseDetector
    from mmdet.registry import MODELS
    from mmengine.model.utils import revert_sync_batchnorm

    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    if not isinstance(model, BaseDetector):
        raise ValueError(f'{cfg.filename}: {type(model).__name__} is no detector of MMDetection.')
    load_strictly(model, read_state_dict(checkpoint, model, trust), checkpoint)
    model.cfg = cfg
    return model.to(device).eval()


def build_dataset(cfg: Config, lazy: bool = False) -> 'BaseDataset':
    """Build a config's test set.

    Args:
        cfg (Config): With a ``test_dataloader``.
        lazy (bool): Leave the annotations unread; class names and colours are there all the same.
            Defaults to False.

    Raises:
        ValueError: The config has no test set.
        OSError: The annotations are not where the config says.
    """
    from mmdet.registry import DATASETS

    if not cfg.get('test_dataloader'):
        raise ValueError(f'{cfg.filename} has no test_dataloader, whose data set would be drawn.')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = cfg.test_dataloader.dataset
    return DATASETS.build(dict(dataset, lazy_init=True) if lazy else dataset)


def choose_images(dataset: 'BaseDataset', ids: Optional[Sequence], num: int) -> List[dict]:
    """Find images of a data set.

    Args:
        dataset (BaseDataset): Of mmengine.
        ids (Sequence, optional): Of images, as in the annotation file. None: the first ``num``.
        num (int): How many to take where no ids are given.

    Returns:
        list[dict]: What the data set knows of each, ``img_id``, ``img_path`` and ``instances``
        among it, in the order of ``ids``.

    Raises:
        ValueError: There is no image of an id; the message lists some that there are.
    """
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    if ids is None:
        return list(islice(infos, num))
    wanted = {str(number) for number in ids}
    found, some = {}, []
    for info in infos:
        number = str(info['img_id'])
        some = [*some, number] if len(some) < SHOWN else some
        if number in wanted:
            found[number] = info
    missing = [str(number) for number in ids if str(number) not in found]
    if missing:
        raise ValueError(
            f'no image file and no image of the test set has the id {missing[0]!r}; its '
            f'{len(dataset)} images have ids {", ".join(some)}, ...'
        )
    return [found[str(number)] for number in ids]


def class_looks(dataset: 'BaseDataset') -> List[Tuple[str, Colour]]:
    """Name and colour (RGB, 0 to 1) of each class of a data set, by label."""
    from mmdet.visualization import get_palette

    names = dataset.metainfo.get('classes') or ()
    palette = dataset.metainfo.get('palette')
    if not palette or len(palette) < len(names):
        palette = 'random'  # by a fixed seed
    elif not isinstance(palette, str):
        palette = list(palette)
    colours = get_palette(palette, len(names))
    return [
        (name, tuple(float(value) / 255 for value in colour))
        for name, colour in zip(names, colours)
    ]


def detect(
    model: nn.Module, images: Sequence[str], looks: Sequence[Tuple[str, Colour]], score: float = 0.3
) -> List[List[Instance]]:
    """Run a detector on image files, with the test pipeline of its config.

    Args:
        model (nn.Module): From ``load_detector``.
        images (list[str]): Image files.
        looks (list[tuple]): From ``class_looks``, of the detector's own data set.
        score (float): Detections below it are left out. Defaults to 0.3.

    Returns:
        list[list[Instance]]: Of each image, with masks where the detector makes them.

    Raises:
        ValueError: The detector finds no instances, or classes that its data set has not.
    """
    from mmdet.apis import inference_detector

    drawn = []
    for image in images:
        result = inference_detector(model, str(image))
        if 'pred_instances' not in result:
            raise ValueError(f'{model.cfg.filename}: the model finds no instances to draw.')
        found = result.pred_instances.cpu()
        found = found[found.scores >= score]
        if len(found) and int(found.labels.max()) >= len(looks):
            raise ValueError(
                f'{model.cfg.filename}: the model finds class {int(found.labels.max())}, its test '
                f'set has {len(looks)} classes.'
            )
        masks = found.masks.numpy() if 'masks' in found else [None] * len(found)
        boxes = [
            mask_box(mask) if mask is not None and box[2] <= box[0] else box
            for box, mask in zip(found.bboxes.tolist(), masks)
        ]
        parts = zip(boxes, found.labels.tolist(), found.scores.tolist(), masks)
        drawn.append(
            [Instance(box, *looks[label], value, mask) for box, label, value, mask in parts]
        )
    return drawn


def mask_box(mask: np.ndarray) -> List[float]:
    """The box around a mask, for detectors such as SOLO that find masks alone.

    Args:
        mask (ndarray): bool, (H, W).

    Returns:
        list[float]: x1, y1, x2, y2 in pixels; zeros where nothing is in the mask.
    """
    if not mask.any():
        return [0.0] * 4
    (rows,), (columns,) = mask.any(1).nonzero(), mask.any(0).nonzero()
    return [float(value) for value in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def ground_truth(
    info: Dict[str, Any], looks: Sequence[Tuple[str, Colour]], masks: bool = True
) -> List[Instance]:
    """The annotated objects of an image, without regions to ignore.

    Args:
        info (dict): From ``choose_images``.
        looks (list[tuple]): From ``class_looks``.
        masks (bool): Whether to draw masks, where there are any. Defaults to True.
    """
    from mmdet.datasets.transforms import LoadAnnotations

    objects = [item for item in info['instances'] if not item.get('ignore_flag')]
    masks = masks and all(item.get('mask') for item in objects)
    shown = dict(info, instances=objects, ori_shape=(info['height'], info['width']))
    loaded = LoadAnnotations(with_bbox=True, with_mask=masks)(shown)
    boxes, labels = loaded['gt_bboxes'].tensor.tolist(), loaded['gt_bboxes_labels'].tolist()
    arrays = [None] * len(objects)
    if masks:
        arrays = loaded['gt_masks'].to_ndarray().astype(bool)
    return [
        Instance(box, *looks[label], mask=mask) for box, label, mask in zip(boxes, labels, arrays)
    ]
