"""Inception convolution: every output channel has its own dilation (d_h, d_w).

Liu et al., "Inception Convolution with Efficient Dilation Search", CVPR 2021, section 3.1.
The layer keeps one ``weight`` of the plain convolution's shape. Output channels with the
same dilation are computed by one convolution on a slice of it, so parameters and
multiply-adds equal the plain convolution's.
"""

from torch import nn

from mmic.layers.base_conv import build_like, check_base_conv, copy_parameters, undilated
from mmic.layers.branches import direct_applies, plan_by_output, planned_conv2d, register_plan
from mmic.layers.eager import is_proxy
from mmic.layers.kernels import classes_by_output, kernel_conv2d, kernels_apply, register_table
from mmic.layers.own_conv import OwnConv
from mmic.layers.saved_dilations import SavedDilations
from mmic.pattern import PatternError, check_dilations, run_lengths


class ICConv2d(OwnConv, SavedDilations, nn.Conv2d):
    """Convolution whose output channels have their own dilations.

    ``y[n, i, h, w] = b[i] + sum over c, u, v of
    W[i, c, u, v] * x[n, c, s h + d_h[i] u - p_h[i], s w + d_w[i] v - p_w[i]]``, where
    ``p[i] = padding + (kernel_size - 1) / 2 * (d[i] - 1)`` keeps the plain output size.

    Args:
        in_channels (int): C_in.
        out_channels (int): C_out.
        kernel_size (int | tuple[int, int]): Odd and square, from 3 up.
        stride (int | tuple[int, int]): Defaults to 1.
        padding (int | tuple[int, int] | str): Of the undilated convolution. Defaults to 0.
        dilation (int): Must be 1. Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): Defaults to True.
        dilations (Tensor | Sequence): ``(d_h, d_w)`` of each output channel, (C_out, 2).

    Raises:
        PatternError: Impossible dilations, or not one pair per output channel.
        ValueError: A base convolution without dilations to choose.

    Shape:
        Input (N, C_in, H, W), output (N, C_out, H', W') as of ``nn.Conv2d``.
    """

    # Of the convolution that the layer was built for, by which ``dilations`` are multiplied.
    base_dilation = (1, 1)

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
        dilations,
    ):
        check_base_conv(kernel_size, dilation, padding_mode)
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
        dilations = check_dilations(dilations)
        if len(dilations) != out_channels:
            raise PatternError(f'{len(dilations)} dilations for {out_channels} output channels.')
        # Saved with the weights, which mean nothing under other dilations.
        self.keep_constant('dilations', dilations)
        register_plan(self, plan_by_output(dilations, in_channels, groups))
        register_table(self, lambda: classes_by_output(dilations, in_channels, groups))
        self.keep_built('the dilations of its output channels')

    @classmethod
    def from_conv(cls, conv, dilations):
        """Build the layer for a plain convolution, with its weights.

        Args:
            conv (nn.Conv2d): Odd square kernel. Its own dilation multiplies ``dilations``: a stage
                whose stride was removed has it in place of the stride, so that a kernel covers
                what it covered where the dilations were found.
            dilations (Tensor | Sequence): ``(d_h, d_w)`` of each output channel, (C_out, 2).

        Raises:
            PatternError, ValueError: See the class.
        """
        if conv.dilation == (1, 1):
            return copy_parameters(conv, build_like(cls, conv, dilations=dilations))
        check_base_conv(conv.kernel_size)
        dilations = check_dilations(dilations)
        dilations = dilations * dilations.new_tensor(conv.dilation)
        layer = build_like(cls, undilated(conv), dilations=dilations)
        layer.base_dilation = conv.dilation
        return copy_parameters(conv, layer)

    def _compute(self, x, weight, bias):
        if is_proxy(x):
            return planned_conv2d(self, x, weight, bias)
        if kernels_apply(self, x, weight):
            return kernel_conv2d(self, x, weight, bias)
        if direct_applies(self, x, weight, bias):
            output = self._direct.conv2d(x, weight, bias)
            if output is not None:
                return output
        return planned_conv2d(self, x, weight, bias)

    def extra_repr(self):
        runs = run_lengths(self.constant('dilations').cpu()) if not self.dilations.is_meta else []
        shown = ', '.join(f'{count} x ({h}, {w})' for h, w, count in runs[:4])
        return f'{super().extra_repr()}, dilations={shown}{", ..." if len(runs) > 4 else ""}'

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing, unexpected, errors
    ):
        name = prefix.rstrip('.')
        weight = state_dict.get(f'{prefix}weight')
        if weight is not None and weight.shape[2:] != self.weight.shape[2:]:
            raise PatternError(
                f'Layer {name!r}: the checkpoint holds a {weight.shape[2]}x{weight.shape[3]} '
                f'kernel for a searched {self.kernel_size[0]}x{self.kernel_size[1]} one. A '
                'supernet checkpoint is turned into weights for the searched network by '
                'tools/edo_search.py --init-weights.'
            )
        super()._load_from_state_dict(
            state_dict, prefix, metadata, strict, missing, unexpected, errors
        )
