"""MobileNetV1, of mmcv's depthwise separable convolutions.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv 2017, Table 1.
"""

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import nn

# Output channels and number of layers of each stage; its first layer halves the map but for the
# first stage, before which the stem does.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))
INIT = [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer='_BatchNorm')]


class MobileNetV1(BaseBackbone):
    """MobileNetV1.

    Args:
        widen_factor (float): The width multiplier; channels are rounded down. Defaults to 1.
        out_indices (Sequence[int]): Stages to return, from 0. Defaults to (4,).
        conv_cfg (dict, optional): Kind of all convolutions, depthwise and pointwise ones.
            Defaults to None: plain ones.
        norm_cfg (dict, optional): Defaults to None: BN.
        init_cfg (dict | list[dict], optional): Defaults to None: Kaiming for convolutions, 1 for
            norms.

    Raises:
        ValueError: A stage in ``out_indices`` that does not exist.
    """

    def __init__(
        self,
        widen_factor=1.0,
        out_indices=(4,),
        conv_cfg=None,
        norm_cfg=None,
        init_cfg=None,
    ):
        super().__init__(init_cfg or INIT)
        if not set(out_indices) <= set(range(len(STAGES))):
            raise ValueError(
                f'out_indices must be among 0 to {len(STAGES) - 1}, got {tuple(out_indices)}.'
            )
        self.out_indices = out_indices
        common = dict(padding=1, conv_cfg=conv_cfg, norm_cfg=norm_cfg or dict(type='BN'))
        channels = int(32 * widen_factor)
        self.conv1 = ConvModule(3, channels, 3, stride=2, **common)
        self.stages = []
        for index, (width, depth) in enumerate(STAGES):
            layers = []
            for number in range(depth):
                stride = 2 if index > 0 and number == 0 else 1
                out_channels = int(width * widen_factor)
                layers.append(
                    DepthwiseSeparableConvModule(channels, out_channels, 3, stride=stride, **common)
                )
                channels = out_channels
            self.stages.append(f'layer{index + 1}')
            self.add_module(self.stages[-1], nn.Sequential(*layers))

    def forward(self, x):
        """Run on (N, 3, H, W); a tuple of maps at 1/2, 1/4, 1/8, 1/16 and 1/32, as chosen."""
        x = self.conv1(x)
        outs = []
        for index, name in enumerate(self.stages):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)
