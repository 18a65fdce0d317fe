"""PSConv with a learnt choice between two dilations for each kernel. Experimental.

Li et al., "PSConv", ECCV 2020, section 4.2: a binary mask over (C_out, C_in) selects dilation
``rates[1]`` or ``rates[0]``; it is the Kronecker product of binary factors that are trained
through a straight-through estimator. The paper gives neither sizes nor initialisation of the
factors; this file takes two, of sizes (C_out / p, C_in / p) and (p, p). Unlike the other
layers it costs extra parameters and a second convolution.
"""

import torch
from torch import nn
from torch.nn import functional as F

from mmic.layers.base_conv import (
    base_padding,
    build_like,
    check_base_conv,
    copy_parameters,
    dilated_padding,
)
from mmic.layers.own_conv import OwnConv
from mmic.pattern import PatternError, check_range, is_integer


def binarize(x: torch.Tensor) -> torch.Tensor:
    """1 where the input is positive, else 0; the gradient passes where ``|x| <= 1``."""
    clipped = x.clamp(-1, 1)
    # The difference is zero, and has the gradient of the clipped input.
    return (x > 0).to(x.dtype) + (clipped - clipped.detach())


class MaskedPSConv2d(OwnConv, nn.Conv2d):
    """Convolution that learns which of two dilations each kernel has.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: As of
            ``PSConv2d``.
        rates (tuple[int, int]): The two dilations. Defaults to (1, 2), the paper's.
        factor (int): Side p of the inner factor; must divide C_out and C_in / groups. Defaults
            to 4.

    Raises:
        PatternError: Not two dilations.
        ValueError: A base convolution without dilations to choose, or a factor that does not
            divide the channels.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode='zeros',
        device=None,
        dtype=None,
        *,
        rates=(1, 2),
        factor=4,
    ):
        check_base_conv(kernel_size, dilation, padding_mode)
        rates = tuple(rates)
        if len(rates) != 2 or not all(is_integer(rate) for rate in rates):
            raise PatternError(f'rates: expected two dilations, got {rates}.')
        check_range(rates, f'rates {rates}')
        depth = in_channels // groups
        if not is_integer(factor) or factor < 1 or out_channels % factor or depth % factor:
            raise ValueError(
                f'factor must divide {out_channels} output channels and {depth} input channels '
                f'of a group, got {factor!r}.'
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )
        self.rates = rates
        outer = self.weight.new_empty(out_channels // factor, depth // factor)
        self.mask_outer = nn.Parameter(nn.init.normal_(outer, std=0.01))
        inner = self.weight.new_empty(factor, factor)
        self.mask_inner = nn.Parameter(nn.init.normal_(inner, std=0.01))
        self.keep_built('the dilations of its kernels')

    @classmethod
    def from_conv(cls, conv, rates=(1, 2), factor=4):
        """Build the layer for a plain convolution, with its weights."""
        return copy_parameters(conv, build_like(cls, conv, rates=rates, factor=factor))

    def mask(self):
        """Return the binary mask, 1 for ``rates[1]``: (C_out, C_in / groups)."""
        return torch.kron(binarize(self.mask_outer), binarize(self.mask_inner))

    def _compute(self, x, weight, bias):
        mask, padding = self.mask()[:, :, None, None], base_padding(self.kernel_size, self.padding)
        outputs = []
        for rate, chosen in zip(self.rates, (1 - mask, mask)):
            padded = dilated_padding(self.kernel_size, padding, (rate, rate))
            kernel = weight * chosen
            outputs.append(F.conv2d(x, kernel, bias, self.stride, padded, rate, self.groups))
            bias = None
        return outputs[0] + outputs[1]
