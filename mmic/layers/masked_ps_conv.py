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
from mmic.pattern import PatternError, check_range, is_integer


class Binarize(torch.autograd.Function):
    """1 where the input is positive, else 0; the gradient passes where ``|x| <= 1``."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class MaskedPSConv2d(nn.Conv2d):
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

    @classmethod
    def from_conv(cls, conv, rates=(1, 2), factor=4):
        """Build the layer for a plain convolution, with its weights."""
        return copy_parameters(conv, build_like(cls, conv, rates=rates, factor=factor))

    def mask(self):
        """Return the binary mask, 1 for ``rates[1]``: (C_out, C_in / groups)."""
        return torch.kron(Binarize.apply(self.mask_outer), Binarize.apply(self.mask_inner))

    def forward(self, x):
        return self._conv_forward(x, self.weight, self.bias)

    # Also called from outside with other weights, by mmcv's efficient_conv_bn_eval.
    def _conv_forward(self, x, weight, bias):
        mask, padding = self.mask()[:, :, None, None], base_padding(self.kernel_size, self.padding)
        outputs = []
        for rate, chosen in zip(self.rates, (1 - mask, mask)):
            padded = dilated_padding(self.kernel_size, padding, (rate, rate))
            kernel = weight * chosen
            outputs.append(F.conv2d(x, kernel, bias, self.stride, padded, rate, self.groups))
            bias = None
        return outputs[0] + outputs[1]
