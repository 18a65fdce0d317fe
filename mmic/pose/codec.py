"""Associative embedding's targets, where its decoder looks for them and packed for the loss."""

from mmpose.codecs import AssociativeEmbedding
from mmpose.registry import KEYPOINT_CODECS


# This registry has no parent: a codec registered in mmic's scope would not be found.
@KEYPOINT_CODECS.register_module()
class TrainableAssociativeEmbedding(AssociativeEmbedding):
    """MMPose's ``AssociativeEmbedding``, whose targets a network can be trained on.

    Without the tables of what is packed ``PackPoseInputs`` drops ``keypoint_indices``, from which
    the tag loss is computed. Arguments are MMPose's.
    """

    field_mapping_table = dict(heatmaps='heatmaps', heatmap_mask='heatmap_mask')
    label_mapping_table = dict(
        keypoint_weights='keypoint_weights', keypoint_indices='keypoint_indices'
    )

    def encode(self, keypoints, keypoints_visible=None):
        """Encode the keypoints of an image.

        A keypoint's peak is the pixel of the map that it lies in. MMPose 1.x takes the pixel
        with the nearest index. Its decoder returns the middle of a pixel
        (``decode_center_shift=0.5``) and flips maps pixel for pixel, so poses would come out to
        the right of the keypoints and below, by half a pixel of the map.

        Args:
            keypoints (np.ndarray): In pixels of the input, (N, K, 2).
            keypoints_visible (np.ndarray, optional): Which are labelled, (N, K). Defaults to
                all.

        Returns:
            dict[str, np.ndarray]: ``heatmaps``, (K, H, W), ``keypoint_indices``, (N, K, 2), and
            ``keypoint_weights``, (N, K).
        """
        if not self.use_udp:  # which rounds nothing
            keypoints = keypoints - 0.5 * self.scale_factor
        return super().encode(keypoints, keypoints_visible)
