"""Two relatives of ResNet, on top of mmpretrain's: pre-activation (ResNet-v2) and Plain.

He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, and "Deep Residual Learning
for Image Recognition", CVPR 2016.
"""

import torch
from mmcv.cnn import build_norm_layer
from mmpretrain.models.backbones import ResNet
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.utils.checkpoint import checkpoint


class PreActivation:
    """Norm and ReLU before each convolution of a block, and none after the sum.

    A shortcut that changes the shape starts from the activated input and has no norm.
    """

    def __init__(self, in_channels, out_channels, downsample=None, **kwargs):
        if downsample is not None:
            downsample = downsample[:-1]  # the last layer is the norm
        super().__init__(in_channels, out_channels, downsample=downsample, **kwargs)
        for number, conv in enumerate(self.convs(), 1):
            norm = build_norm_layer(self.norm_cfg, conv.in_channels)[1]
            self.add_module(getattr(self, f'norm{number}_name'), norm)

    def convs(self):
        """The convolutions of the residual branch, in order."""
        return [module for name, module in self.named_children() if name.startswith('conv')]

    def forward(self, x):
        if self.with_cp and x.requires_grad:
            return checkpoint(self.add_branch, x, use_reentrant=False)
        return self.add_branch(x)

    def add_branch(self, x):
        """Shortcut plus residual branch."""
        # Not in place: the network's first block has no norm, so that this would change x.
        out = torch.relu(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample(out)
        first, *others = self.convs()
        out = first(out)
        for number, conv in enumerate(others, 2):
            out = conv(self.relu(getattr(self, f'norm{number}')(out)))
        return shortcut + self.drop_path(out)


class PreActBasicBlock(PreActivation, BasicBlock):
    """Two 3x3 convolutions, pre-activated."""


class PreActBottleneck(PreActivation, Bottleneck):
    """1x1, 3x3 and 1x1 convolution, pre-activated."""


class PreActMixin:
    """What pre-activation changes in a network around its blocks.

    The first block starts from the stem's activation, and a norm and ReLU follow the last one.
    The norms of the blocks do not start at zero as mmpretrain's do: no gradient would come
    through the ReLU behind them.

    Raises:
        ValueError: ``out_indices`` lacks the last stage.
    """

    def __init__(self, depth, **kwargs):
        super().__init__(depth, zero_init_residual=False, **kwargs)
        if max(self.out_indices) != self.num_stages - 1:
            raise ValueError(
                f'out_indices of {type(self).__name__} must hold its last stage, '
                f'{self.num_stages - 1}, got {tuple(self.out_indices)}.'
            )
        first = getattr(self, self.res_layers[0])[0]
        setattr(first, first.norm1_name, nn.Identity())
        self.last_norm = build_norm_layer(self.norm_cfg, self.feat_dim)[1]

    def forward(self, x):
        *outs, last = super().forward(x)
        return (*outs, torch.relu(self.last_norm(last)))


class PreActResNet(PreActMixin, ResNet):
    """ResNet-v2 for ImageNet.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        **kwargs: Of mmpretrain's ResNet, without ``zero_init_residual``.

    Raises:
        KeyError: Another depth.
        ValueError: ``out_indices`` lacks the last stage.
    """

    arch_settings = {
        depth: (PreActBasicBlock if block is BasicBlock else PreActBottleneck, blocks)
        for depth, (block, blocks) in ResNet.arch_settings.items()
    }


class PlainBasicBlock(BasicBlock):
    """Two 3x3 convolutions, each with norm and ReLU, and no shortcut."""

    def __init__(self, *args, downsample=None, **kwargs):
        super().__init__(*args, **kwargs)

    def forward(self, x):
        out = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(out)))


class PlainMixin:
    """A network without shortcuts, whose norms cannot start at zero: nothing else would pass."""

    def __init__(self, depth, **kwargs):
        super().__init__(depth, zero_init_residual=False, **kwargs)


class PlainNet(PlainMixin, ResNet):
    """ResNet without shortcuts, for ImageNet.

    Args:
        depth (int): 18 or 34.
        **kwargs: Of mmpretrain's ResNet, without ``zero_init_residual``.

    Raises:
        KeyError: Another depth.
    """

    arch_settings = {depth: (PlainBasicBlock, ResNet.arch_settings[depth][1]) for depth in (18, 34)}
