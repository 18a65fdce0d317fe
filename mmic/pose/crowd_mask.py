"""The mask of what the heatmap loss leaves out, with the crowds."""

import numpy as np
from mmpose.datasets.transforms import BottomupGetHeatmapMask
from pycocotools import mask as coco_mask

from mmic.registry import TRANSFORMS, register


@register(TRANSFORMS)
class CrowdHeatmapMask(BottomupGetHeatmapMask):
    """MMPose's ``BottomupGetHeatmapMask`` that leaves out crowds too.

    A crowd's people have no keypoints. COCO codes its region by run lengths, not polygons, and
    MMPose 1.x skips those: the crowd would be trained as background. Masks are decoded by
    pycocotools, since the xtcocotools that MMPose uses cannot do it under NumPy 2.
    """

    def _segs_to_mask(self, segs, img_shape):
        codes = []
        for seg in segs:
            if not (isinstance(seg, dict) and isinstance(seg['counts'], (bytes, str))):
                seg = coco_mask.frPyObjects(seg, *img_shape)
            codes += seg if isinstance(seg, list) else [seg]
        if not codes:
            return np.zeros(img_shape, np.uint8)
        return coco_mask.decode(coco_mask.merge(codes))
