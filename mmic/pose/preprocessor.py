"""Normalises and stacks the images of a pyramid."""

from mmengine.utils import is_seq_of
from mmpose.models.data_preprocessors import PoseDataPreprocessor

from mmic.registry import MODELS, register


@register(MODELS)
class PyramidDataPreprocessor(PoseDataPreprocessor):
    """MMPose's ``PoseDataPreprocessor`` that takes pyramids too. Arguments are MMPose's."""

    def forward(self, data, training=False):
        """Prepare a batch.

        Args:
            data (dict): ``inputs``, images as MMPose's class takes them, or of each scale a list
                of the batch's images (3, H, W), as the data loader collates pyramids; and
                ``data_samples``.
            training (bool): Whether to augment. Defaults to False.

        Returns:
            dict: ``inputs``, (B, 3, H, W), or a tuple of such, one for each scale; and
            ``data_samples``, whose shapes are those of scale 1.
        """
        if not is_seq_of(data['inputs'], (list, tuple)):
            return super().forward(data, training)
        levels = [
            super(PyramidDataPreprocessor, self).forward({**data, 'inputs': images}, training)
            for images in data['inputs']
        ]
        # A tuple, since MMPose's estimators stack a list.
        return {**levels[0], 'inputs': tuple(level['inputs'] for level in levels)}
