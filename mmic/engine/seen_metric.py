"""COCO's AP over the images that were looked at, for scores that a search compares."""

import contextlib
import io
import tempfile

import numpy as np
from mmdet.evaluation.metrics import CocoMetric
from mmengine.fileio import load
from pycocotools.cocoeval import COCOeval


class SeenCocoMetric(CocoMetric):
    """mmdet's COCO metric over the images it was given, in full precision.

    mmdet's own counts every image of the annotation file, so that objects of images left out
    are missed ones, and it rounds to three decimals, which makes architectures equal that a
    search has to rank. It prints nothing.

    Args:
        **kwargs: Of mmdet's ``CocoMetric``; ``metric`` is ``'bbox'``, ``'segm'`` or both.

    Raises:
        ValueError: Another ``metric``, or no ``ann_file``.
    """

    def __init__(self, **kwargs):
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(**kwargs)
        if not set(self.metrics) <= {'bbox', 'segm'}:
            raise ValueError(f"metric must be 'bbox', 'segm' or both, got {self.metrics}.")
        if self._coco_api is None:
            raise ValueError('the COCO metric needs ann_file, the annotations to compare with.')

    def check_images(self, image_ids):
        """Raise ValueError unless the images are in the annotation file, with objects."""
        unknown = set(image_ids) - set(self._coco_api.get_img_ids())
        if unknown:
            raise ValueError(
                f'val_evaluator: {len(unknown)} of {len(image_ids)} images of val_dataloader, id '
                f'{min(unknown)} for example, are not in its ann_file. Both must name the same '
                'annotations.'
            )
        found = self._coco_api.get_ann_ids(image_ids, self._categories(), iscrowd=False)
        if not found:
            raise ValueError(
                f'val_dataloader: none of its {len(image_ids)} images has an object of the '
                f'classes {list(self.dataset_meta["classes"])}; AP is not defined.'
            )

    def compute_metrics(self, results):
        """Compute ``bbox_mAP`` and ``segm_mAP``, whichever was asked for.

        Args:
            results (list[tuple[dict, dict]]): Ground truth, unused, and detections by image.

        Returns:
            dict[str, float]
        """
        detected = [prediction for _, prediction in results]
        image_ids = [prediction['img_id'] for prediction in detected]
        # The parent writes the label of a detection as the category that stands here.
        self.cat_ids = self._categories()
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json(detected, f'{folder}/results')
            found = {kind: load(files[kind]) for kind in self.metrics}
        return {
            f'{kind}_mAP': self._average_precision(kind, detections, image_ids)
            for kind, detections in found.items()
        }

    def _categories(self):
        return self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])

    def _average_precision(self, kind, detections, image_ids):
        if not detections:
            return 0.0
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._coco_api.loadRes(detections)
            evaluation = COCOeval(self._coco_api, found, kind)
            evaluation.params.imgIds = image_ids
            evaluation.params.catIds = self.cat_ids
            evaluation.params.maxDets = self.proposal_nums
            evaluation.params.iouThrs = np.asarray(self.iou_thrs)  # a config has a list
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return float(evaluation.stats[0])
