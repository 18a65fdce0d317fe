"""The supernet convolution of EDO: one kernel wide enough to hold every dilation.

Liu et al., CVPR 2021, section 3.2: a kernel of side ``2k + 1`` becomes one of side
``S = 2 k d_max + 1``; the taps of dilation (d_h, d_w) are a subset of its taps.
"""

import torch
from torch import nn

from mmic.layers.base_conv import base_padding, build_like, check_base_conv, copy_parameters
from mmic.log import print_log
from mmic.pattern import is_integer


def wide_size(kernel_size, d_max):
    """Side of the kernel that holds dilations 1 to ``d_max`` of a kernel of side ``kernel_size``.

    Raises:
        ValueError: ``d_max`` is not a whole number from 1 up.
    """
    if not is_integer(d_max) or d_max < 1:
        raise ValueError(f'd_max is the largest dilation, a whole number from 1 up; got {d_max!r}.')
    return (kernel_size - 1) * d_max + 1


class WideConv2d(nn.Conv2d):
    """Dense convolution that stands for all dilations of a smaller one.

    It is initialised over its whole kernel, as the paper trains it. A plain network's
    checkpoint loaded into it fills the centre taps and sets the others to zero, which is the
    same function as the plain network's; that is not the paper's, but spares training a 9x9
    network from nothing.

    Args:
        in_channels (int): C_in.
        out_channels (int): C_out.
        kernel_size (int | tuple[int, int]): Of the convolution it stands for, ``2k + 1``.
        stride (int | tuple[int, int]): Defaults to 1.
        padding (int | tuple[int, int] | str): Of that convolution. Defaults to 0.
        dilation (int): Must be 1. Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): Defaults to True.
        d_max (int): Largest dilation in the search space.

    Attributes:
        base_kernel_size (int): ``2k + 1``; ``kernel_size`` is (S, S).

    Raises:
        ValueError: Even, non-square or 1x1 kernel, dilation other than 1, or d_max below 1.

    Shape:
        ``weight`` (C_out, C_in / groups, S, S); outputs have the plain convolution's size.
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
        d_max,
    ):
        base = check_base_conv(kernel_size, dilation, padding_mode)
        extra = (wide_size(base, d_max) - base) // 2
        super().__init__(
            in_channels,
            out_channels,
            base + 2 * extra,
            stride,
            tuple(pad + extra for pad in base_padding((base, base), padding)),
            1,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )
        self.base_kernel_size = base
        self.d_max = d_max

    @classmethod
    def from_conv(cls, conv, d_max, embed=True):
        """Build the supernet layer for a plain convolution.

        Args:
            conv (nn.Conv2d): Odd square kernel, dilation 1.
            d_max (int): Largest dilation in the search space.
            embed (bool): Put the convolution's weights at the centre with zeros around, the
                same function. False keeps the random initialisation over the whole kernel, as
                the paper trains it. Defaults to True.
        """
        new = build_like(cls, conv, d_max=d_max)
        if embed:
            copy_parameters(conv, new)
            with torch.no_grad():
                new.weight.copy_(embed_centre(conv.weight, new.kernel_size[0]))
        return new

    def extra_repr(self):
        return f'{super().extra_repr()}, d_max={self.d_max}'

    def _load_from_state_dict(self, state_dict, prefix, *args):
        key = f'{prefix}weight'
        weight = state_dict.get(key)
        if weight is not None and weight.ndim == 4 and weight.shape[2:] != self.weight.shape[2:]:
            name, size = prefix.rstrip('.'), self.kernel_size[0]
            if tuple(weight.shape[2:]) != (self.base_kernel_size,) * 2:
                raise ValueError(
                    f'Layer {name!r}: a {weight.shape[2]}x{weight.shape[3]} kernel in the '
                    f'checkpoint fits neither this {size}x{size} supernet layer (d_max='
                    f'{self.d_max}) nor the plain {self.base_kernel_size}x'
                    f'{self.base_kernel_size} one. Was the supernet trained with another d_max?'
                )
            print_log(
                f'{name}: {self.base_kernel_size}x{self.base_kernel_size} checkpoint weight put '
                f'at the centre of the {size}x{size} supernet kernel, zeros around',
                logger='current',
            )
            # A copy, so that the caller's state dict stays as it is.
            state_dict = {**state_dict, key: embed_centre(weight, size)}
        super()._load_from_state_dict(state_dict, prefix, *args)


def embed_centre(weight, size):
    """Surround kernels with zeros: (..., k, k) to (..., size, size)."""
    margin = (size - weight.shape[-1]) // 2
    return nn.functional.pad(weight, (margin,) * 4)


def sample_taps(weight, dilations, kernel_size=3):
    """Take the taps of each output channel's dilation out of wide kernels.

    Args:
        weight (Tensor): Supernet kernels, (C_out, C_in / groups, S, S).
        dilations (Tensor): ``(d_h, d_w)`` of each output channel, (C_out, 2).
        kernel_size (int): Side of the kernels to return. Defaults to 3.

    Returns:
        Tensor: Shape (C_out, C_in / groups, kernel_size, kernel_size).
    """
    centre, radius = weight.shape[-1] // 2, kernel_size // 2
    taps = torch.arange(-radius, radius + 1, device=weight.device)
    rows = centre + dilations[:, :1] * taps  # (C_out, kernel_size)
    columns = centre + dilations[:, 1:] * taps
    channels = torch.arange(len(weight), device=weight.device)[:, None, None]
    # Advanced indices on both sides of a slice put C_in last.
    return weight[channels, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
