"""The associative embedding head that trains, and tests at several scales."""

import torch
from mmengine.structures import PixelData
from mmpose.models.heads import AssociativeEmbeddingHead
from mmpose.models.utils.tta import aggregate_heatmaps, flip_heatmaps

from mmic.registry import MODELS, register


@register(MODELS)
class TrainableAssociativeEmbeddingHead(AssociativeEmbeddingHead):
    """MMPose's ``AssociativeEmbeddingHead`` with losses that it can be trained by.

    Args:
        *args: Of MMPose's class.
        keypoint_loss (dict, optional): Loss of the heatmaps; it is given weights by person,
            which ``KeypointMSELoss`` refuses. Defaults to ``MaskedKeypointMSELoss``.
        tag_loss (dict, optional): Defaults to ``MeanAssociativeEmbeddingLoss`` of weight 0.001,
            MMPose's.
        **kwargs: Of MMPose's class.
    """

    def __init__(self, *args, keypoint_loss=None, tag_loss=None, **kwargs):
        keypoint_loss = keypoint_loss or dict(type='MaskedKeypointMSELoss')
        tag_loss = tag_loss or dict(type='MeanAssociativeEmbeddingLoss', loss_weight=0.001)
        super().__init__(*args, keypoint_loss=keypoint_loss, tag_loss=tag_loss, **kwargs)

    def predict(self, feats, batch_data_samples, test_cfg=None):
        """Predict poses, in pixels of the input.

        Heatmaps are averaged over flips and scales; tags are those of scale 1, of the image and
        of its flip side by side.

        Args:
            feats (tuple | list): Features as the backbone returns them; with ``flip_test`` a
                list of two such, of the image and its flip; with ``multiscale_test`` a list of
                either by scale, 1 first.
            batch_data_samples (list[PoseDataSample]): Of the batch.
            test_cfg (dict, optional): ``multiscale_test``, ``flip_test``, ``shift_heatmap``,
                ``align_corners``, ``restore_heatmap_size`` and ``output_heatmaps``, all False
                by default.

        Returns:
            list[InstanceData] | tuple: Poses, and with ``output_heatmaps`` also their maps.

        Raises:
            ValueError: ``restore_heatmap_size`` with images of different sizes in a batch.
        """
        test_cfg = test_cfg or {}
        levels = feats if test_cfg.get('multiscale_test', False) else [feats]
        heatmaps, tags = zip(*(self._maps(level, batch_data_samples, test_cfg) for level in levels))
        size = None
        if test_cfg.get('restore_heatmap_size', False):
            size = image_size(batch_data_samples)
        align = test_cfg.get('align_corners', False)
        heatmaps = aggregate_heatmaps(list(heatmaps), size, align, mode='average')
        tags = aggregate_heatmaps([tags[0]], size, align, mode='concat')
        poses = self.decode((heatmaps, tags))
        if not test_cfg.get('output_heatmaps', False):
            return poses
        return poses, [PixelData(heatmaps=h, tags=t) for h, t in zip(heatmaps, tags)]

    def _maps(self, feats, batch_data_samples, test_cfg):
        """Heatmaps (B, K, H, W) and tags (B, L * K, H, W) of one scale; twice L with flip."""
        if not test_cfg.get('flip_test', False):
            return self.forward(feats)
        (heatmaps, tags), (flipped_heatmaps, flipped_tags) = map(self.forward, feats)
        arguments = dict(
            flip_indices=batch_data_samples[0].metainfo['flip_indices'],
            shift_heatmap=test_cfg.get('shift_heatmap', False),
        )
        heatmaps = (heatmaps + flip_heatmaps(flipped_heatmaps, **arguments)) / 2
        return heatmaps, torch.cat([tags, self._flip_tags(flipped_tags, **arguments)], 1)


def image_size(batch_data_samples):
    """The (w, h) that all images of a batch have in common."""
    shapes = {tuple(sample.metainfo['img_shape']) for sample in batch_data_samples}
    if len(shapes) > 1:
        raise ValueError(
            'restore_heatmap_size needs images of one size in a batch, got heights and widths '
            f'{sorted(shapes)}; set val_dataloader.batch_size and test_dataloader.batch_size to 1.'
        )
    height, width = shapes.pop()
    return width, height
