"""R-FCN on mmdet: position-sensitive score maps, of which a RoI takes each bin from its own.

Dai et al., "R-FCN: Object Detection via Region-based Fully Convolutional Networks", NeurIPS 2016.
All convolutions see whole images. What is left for a RoI is to average: bin (i, j) of a class is
the mean of the (i, j)-th of its k x k score maps over the bin, and the bins vote by their mean.
"""

import torch
from torch import nn
from torch.nn import functional as F

from mmic.models.backbones import needs_host
from mmic.registry import MODELS, register

NAMES = ('RFCN', 'RFCNRPNHead', 'RFCNRoIExtractor', 'RFCNHead')

try:
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.detectors import TwoStageDetector
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
    from torchvision.ops import PSRoIPool
# mmdet asserts on mmcv's version while it is imported.
except (ImportError, AssertionError) as error:
    globals().update({name: needs_host(name, error) for name in NAMES})
else:

    class RFCN(TwoStageDetector):
        """R-FCN: proposals from the fourth stage, score maps from the fifth.

        Its parts are ``RFCNRPNHead`` and mmdet's ``StandardRoIHead`` with an
        ``RFCNRoIExtractor`` and an ``RFCNHead``. The fifth stage keeps the fourth one's
        resolution (the paper's "hole algorithm"): ``strides=(1, 2, 2, 1)``,
        ``dilations=(1, 1, 1, 2)``, ``out_indices=(2, 3)``.

        Args:
            *args, **kwargs: Of mmdet's ``TwoStageDetector``.

        Raises:
            ValueError: Extractor and head are not of the same numbers of classes and bins.
        """

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            extractor, head = self.roi_head.bbox_roi_extractor, self.roi_head.bbox_head
            pairs = [
                ('out_channels', extractor.out_channels, head.map_channels),
                ('output_size', extractor.roi_layers[0].output_size, head.roi_feat_size),
            ]
            for name, given, expected in pairs:
                if given != expected:
                    raise ValueError(
                        f'roi_head.bbox_roi_extractor: {name} is {given}, the score maps of '
                        f'roi_head.bbox_head need {expected}: num_classes + 1 scores and 4 box '
                        'offsets, in roi_feat_size bins.'
                    )

        def extract_feat(self, batch_inputs):
            """Compute the features of both heads.

            Args:
                batch_inputs (Tensor): Images, (N, 3, H, W).

            Returns:
                tuple[Tensor, Tensor]: Score maps of ``RFCNHead.score_maps``, which mmdet's RoI
                head takes as its first level, and the fourth stage's features.
            """
            c4, c5 = super().extract_feat(batch_inputs)
            return self.roi_head.bbox_head.score_maps(c5), c4

    class RFCNRPNHead(RPNHead):
        """mmdet's RPN on the last of the features that ``RFCN`` gives it."""

        def forward(self, x):
            return super().forward(x[-1:])

    class RFCNRoIExtractor(SingleRoIExtractor):
        """Position-sensitive RoI pooling.

        Bins are those of torchvision's ``PSRoIPool``: RoIs are rounded to whole cells of the
        maps, a bin covers every cell that it touches, and one outside the image is 0. Gradients
        are those of RoIs that do not reach beyond the maps' right and lower ends, as mmdet's
        proposals do not: torchvision's backward pass counts a row and a column more there.

        Args:
            output_size (int): Bins on a side, k. Defaults to 7.
            **kwargs: Of mmdet's ``SingleRoIExtractor``. ``out_channels`` is that of the pooled
                features, a k * k-th of the maps' channels.
        """

        def __init__(self, output_size=7, **kwargs):
            layer = dict(type=PSRoIPool, output_size=(output_size, output_size))
            super().__init__(roi_layer=layer, **kwargs)

        def forward(self, feats, rois):
            """Pool maps (N, C k k, H, W) at RoIs (n, 5) to (n, C, k, k)."""
            # torchvision cuts bins off before the last row and column instead of behind them.
            padded = [F.pad(maps, (0, 1, 0, 1)) for maps in feats]
            return super().forward(padded, rois)

    class RFCNHead(BBoxHead):
        """Score maps of an image, and the vote of a RoI's bins. Boxes are class-agnostic.

        Args:
            in_channels (int): Of the fifth stage. Defaults to 2048.
            feat_channels (int): To which a 1x1 convolution brings them. Defaults to 1024.
            **kwargs: Of mmdet's ``BBoxHead``: ``num_classes``, ``roi_feat_size`` (bins on a
                side, k), ``bbox_coder``, losses.

        Attributes:
            map_channels (int): C, scores of the classes and the background, and box offsets.
        """

        def __init__(self, in_channels=2048, feat_channels=1024, **kwargs):
            init_cfg = kwargs.pop('init_cfg', dict(type='Normal', layer='Conv2d', std=0.01))
            super().__init__(
                in_channels=in_channels,
                with_avg_pool=True,
                reg_class_agnostic=True,
                init_cfg=init_cfg,
                **kwargs,
            )
            # The parent's predictors are for features of RoIs.
            scores, offsets = self.fc_cls.out_features, self.fc_reg.out_features
            del self.fc_cls, self.fc_reg
            self.split = (scores, offsets)
            self.map_channels = scores + offsets
            self.conv_reduce = nn.Conv2d(in_channels, feat_channels, 1)
            self.conv_cls = nn.Conv2d(feat_channels, self.roi_feat_area * scores, 1)
            self.conv_reg = nn.Conv2d(feat_channels, self.roi_feat_area * offsets, 1)

        def score_maps(self, x):
            """Turn features (N, C_in, H, W) into maps (N, C k k, H, W), scores first."""
            x = F.relu(self.conv_reduce(x))
            return torch.cat((self.conv_cls(x), self.conv_reg(x)), 1)

        def forward(self, x):
            """Average pooled maps (n, C, k, k) to scores (n, classes + 1) and offsets (n, 4)."""
            return x.mean((2, 3)).split(self.split, 1)


for name in NAMES:
    register(MODELS)(globals()[name])
