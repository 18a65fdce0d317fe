"""The estimator that takes an image at several sizes."""

from mmpose.models.pose_estimators import BottomupPoseEstimator

from mmic.registry import MODELS, register


@register(MODELS)
class AEPoseEstimator(BottomupPoseEstimator):
    """MMPose's ``BottomupPoseEstimator`` that takes what ``PyramidDataPreprocessor`` returns.

    Arguments are MMPose's. ``test_cfg.multiscale_test`` says that inputs are pyramids.
    """

    def predict(self, inputs, data_samples):
        """Predict the poses of a batch.

        Args:
            inputs (Tensor | tuple[Tensor]): (B, 3, H, W), or one such for each scale.
            data_samples (list[PoseDataSample]): Of the batch.

        Returns:
            list[PoseDataSample]: The same, with ``pred_instances``.

        Raises:
            ValueError: ``test_cfg`` and the data pipeline disagree on multi-scale testing.
        """
        pyramid = isinstance(inputs, (list, tuple))
        if pyramid != self.test_cfg.get('multiscale_test', False):
            raise ValueError(
                f'model.test_cfg.multiscale_test is {not pyramid}, but the data pipeline gives '
                f'{"several scales" if pyramid else "one scale"}; set aug_scales of '
                'PyramidResize where it is True, and there alone.'
            )
        return super().predict(list(inputs) if pyramid else inputs, data_samples)
