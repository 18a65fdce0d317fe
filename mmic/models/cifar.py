"""Networks for the 32x32 images of CIFAR, on top of mmpretrain's: ResNet (v1, v2, Plain), ResNeXt.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2, and "Identity
Mappings in Deep Residual Networks", ECCV 2016, appendix; Xie et al., "Aggregated Residual
Transformations for Deep Neural Networks", CVPR 2017, section 5.2.
"""

from mmpretrain.models.backbones import ResNet_CIFAR, ResNeXt
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmpretrain.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from torch import nn
from torch.nn import functional as F

from mmic.models.preact_resnet import (
    PlainBasicBlock,
    PlainMixin,
    PreActBasicBlock,
    PreActBottleneck,
    PreActMixin,
)

# Blocks per stage: 20, 56 and 110 layers in blocks of two, 164 in bottlenecks of three.
BASIC = {20: (3, 3, 3), 56: (9, 9, 9), 110: (18, 18, 18)}
BOTTLENECK = {164: (18, 18, 18)}


def arch_table(basic, bottleneck=None):
    """``arch_settings`` of mmpretrain's ResNet from the kinds of block."""
    table = {depth: (basic, blocks) for depth, blocks in BASIC.items()}
    if bottleneck:
        table.update({depth: (bottleneck, blocks) for depth, blocks in BOTTLENECK.items()})
    return table


class PaddedShortcut(nn.Module):
    """The identity to a smaller and wider map: every ``stride``-th pixel, and channels of zeros.

    The shortcut "A" of He et al., which has no parameters.
    """

    def __init__(self, added_channels, stride):
        super().__init__()
        self.added_channels = added_channels
        self.stride = stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.added_channels))


class CIFARMixin:
    """Three stages at 32, 16 and 8 pixels; ``arch_settings`` are the class's."""

    def __init__(self, depth, stem_channels=16, base_channels=16, out_indices=(2,), **kwargs):
        if depth not in self.arch_settings:
            raise ValueError(
                f'depth of {type(self).__name__} must be one of {sorted(self.arch_settings)}, '
                f'got {depth!r}.'
            )
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=out_indices,
            **kwargs,
        )

    def make_res_layer(self, **kwargs):
        layer = super().make_res_layer(**kwargs)
        block = layer[0]
        # Bottlenecks have 1x1 convolutions as shortcuts between stages, as in both papers.
        if block.expansion == 1 and block.downsample is not None:
            added = block.out_channels - block.in_channels
            block.downsample = PaddedShortcut(added, block.stride)
        return layer


class CIFARResNet(CIFARMixin, ResNet_CIFAR):
    """ResNet-v1 for CIFAR, of 16, 32 and 64 channels.

    Args:
        depth (int): 20, 56, 110, or 164, whose blocks are bottlenecks.
        stem_channels (int): Defaults to 16.
        base_channels (int): Channels of the first stage; of 164, of its 3x3 convolutions.
            Defaults to 16.
        out_indices (Sequence[int]): Stages to return, from 0. Defaults to (2,).
        **kwargs: Of mmpretrain's ResNet, without ``num_stages``, ``strides``, ``dilations`` and
            ``zero_init_residual``.

    Raises:
        ValueError: Another depth.
    """

    arch_settings = arch_table(BasicBlock, Bottleneck)

    def __init__(self, depth, **kwargs):
        super().__init__(depth, zero_init_residual=False, **kwargs)


class CIFARPreActResNet(PreActMixin, CIFARMixin, ResNet_CIFAR):
    """ResNet-v2 for CIFAR; arguments and errors of ``CIFARResNet`` and ``PreActResNet``."""

    arch_settings = arch_table(PreActBasicBlock, PreActBottleneck)


class CIFARPlainNet(PlainMixin, CIFARMixin, ResNet_CIFAR):
    """``CIFARResNet`` of depth 20, 56 or 110 without shortcuts; the same parameters."""

    arch_settings = arch_table(PlainBasicBlock)


class CIFARResNeXt(CIFARMixin, ResNet_CIFAR, ResNeXt):
    """ResNeXt-29 for CIFAR.

    Args:
        depth (int): 29. Defaults to 29.
        groups (int): Cardinality. Defaults to 8.
        width_per_group (int): Channels of a group in the first stage. Defaults to 64.
        stem_channels (int): Defaults to 64.
        base_channels (int): A quarter of the first stage's outputs. Defaults to 64.
        **kwargs: See ``CIFARResNet``.

    Raises:
        ValueError: Another depth.
    """

    arch_settings = {29: (ResNeXtBottleneck, (3, 3, 3))}

    def __init__(
        self,
        depth=29,
        groups=8,
        width_per_group=64,
        stem_channels=64,
        base_channels=64,
        **kwargs,
    ):
        super().__init__(
            depth,
            groups=groups,
            width_per_group=width_per_group,
            stem_channels=stem_channels,
            base_channels=base_channels,
            zero_init_residual=False,
            **kwargs,
        )
