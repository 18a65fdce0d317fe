"""The convolutions as they are written first, to compare with: in the form of the published ones.

Each is what its definition says, one torch convolution or product a term, and needs nothing of
mmic. They are for measuring alone.
"""

import torch
from torch import nn


class ConcatenatedIC(nn.Module):
    """IC-Conv: one convolution a run of equal dilations, outputs concatenated.

    Args:
        conv (nn.Conv2d): The plain 3x3 convolution whose weights are taken, without bias, groups
            and stride.
        dilations (Tensor): ``(d_h, d_w)`` of each output channel, (C_out, 2).
    """

    def __init__(self, conv, dilations):
        super().__init__()
        runs, counts = torch.unique_consecutive(dilations, dim=0, return_counts=True)
        weights = conv.weight.detach().split(counts.tolist())
        self.convs = nn.ModuleList(
            plain_conv(weight, tuple(pair)) for weight, pair in zip(weights, runs.tolist())
        )

    def forward(self, x):
        return torch.cat([conv(x) for conv in self.convs], 1)


class SummedPS(nn.Module):
    """PSConv: a dense convolution and two of four groups, one on swapped halves, added up.

    Channels stand in four blocks; from input block i to output block j the dilation is 2, 1, 4,
    1 for i - j = 0, 1, 2, 3 (mod 4). The dense convolution, of dilation 1, is zero where the
    others are not, and so are its gradients.

    Args:
        conv (nn.Conv2d): As of ``ConcatenatedIC``, with channels that 4 divides.
    """

    def __init__(self, conv):
        super().__init__()
        weight = conv.weight.detach()
        outputs = torch.arange(len(weight))[:, None] * 4 // len(weight)
        inputs = torch.arange(weight.shape[1]) * 4 // weight.shape[1]
        apart = (inputs - outputs) % 4
        self.register_buffer('kept', (apart % 2 == 1)[:, :, None, None])
        self.conv = plain_conv(weight * self.kept, (1, 1))
        self.conv.weight.register_hook(lambda gradient: gradient * self.kept)
        self.gwconv = plain_conv(pick(weight, apart == 0), (2, 2), 4)
        self.gwconv_shift = plain_conv(pick(weight, apart == 2), (4, 4), 4)

    def forward(self, x):
        first, second = x.chunk(2, 1)
        swapped = self.gwconv_shift(torch.cat([second, first], 1))
        return self.gwconv(x) + self.conv(x) + swapped


class EinsumDO(nn.Module):
    """DO-Conv: ``W' = (I + D') o W`` by one einsum at each call (Eq. 3).

    Args:
        conv (nn.Conv2d): As of ``ConcatenatedIC``.
    """

    def __init__(self, conv):
        super().__init__()
        taps = conv.kernel_size[0] * conv.kernel_size[1]
        self.shape, self.padding = conv.weight.shape, conv.padding
        self.W = nn.Parameter(conv.weight.detach().flatten(2).clone())  # (C_out, C_in, d_mul)
        self.D = nn.Parameter(torch.zeros(conv.in_channels, taps, taps))
        self.register_buffer('identity', torch.eye(taps).repeat(conv.in_channels, 1, 1))

    def forward(self, x):
        kernel = torch.einsum('cms,ocs->ocm', self.D + self.identity, self.W)
        return nn.functional.conv2d(x, kernel.reshape(self.shape), padding=self.padding)


def plain_conv(weight, dilation, groups=1):
    """A 3x3 convolution of these weights that keeps the size of its input."""
    out_channels, depth = weight.shape[:2]
    conv = nn.Conv2d(
        depth * groups, out_channels, 3, 1, dilation, dilation, groups=groups, bias=False
    )
    conv.weight.data.copy_(weight)
    return conv


def pick(weight, where):
    """The kernels of one block of input channels for each output channel."""
    return weight[where].reshape(len(weight), -1, *weight.shape[2:])
