"""The heatmap loss of images with several people."""

from mmpose.models.losses import KeypointMSELoss

from mmic.registry import MODELS, register


@register(MODELS)
class MaskedKeypointMSELoss(KeypointMSELoss):
    """MMPose's ``KeypointMSELoss`` weighted by the mask alone.

    A bottom-up heatmap holds the keypoints of all people in the image, and one that nobody shows
    is rightly empty; a weight per person and keypoint has no place in it.
    """

    def forward(self, output, target, target_weights=None, mask=None):
        """Compute the mean squared error over all pixels, those masked out counted as zero.

        Args:
            output (Tensor): Predicted heatmaps, (B, K, H, W).
            target (Tensor): Heatmaps, (B, K, H, W).
            target_weights (Tensor, optional): Of each person's keypoints, (sum of N, K). Unused.
            mask (Tensor, optional): Where the annotations can be relied on, (B, 1, H, W).

        Returns:
            Tensor: A scalar.
        """
        return super().forward(output, target, None, mask)
