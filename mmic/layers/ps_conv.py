"""PSConv: dilations on a fixed cycle over output and input channels.

Li et al., "PSConv: Squeezing Feature Pyramid into One Compact Poly-Scale Convolutional
Layer", ECCV 2020, section 3.2. Kernel (c, k), of output channel c and input channel k, has
dilation ``D[c, k] = pattern[(k - c) mod t]``, anew in each group. The layer keeps one
``weight`` of the plain convolution's shape.
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
from mmic.layers.branches import (
    direct_applies,
    plan_by_kernel,
    planned_conv2d,
    register_plan,
)
from mmic.layers.cycle import CyclicPlan
from mmic.layers.eager import is_proxy
from mmic.layers.kernels import classes_by_kernel, kernel_conv2d, kernels_apply, register_table
from mmic.layers.own_conv import OwnConv
from mmic.layers.saved_dilations import SavedDilations
from mmic.pattern import PatternError, check_range, is_integer

AXES = ('both', 'input', 'output', 'group')
FORMS = ('block', 'sum')


def check_cycle(pattern):
    """Return a cycle of dilations as a tuple of ints, or say what is wrong with it.

    Raises:
        PatternError: No list, empty, or not integers from 1 up.
    """
    if not isinstance(pattern, (list, tuple)):
        raise PatternError(
            f'pattern: expected a list of dilations, (1, 2, 1, 4) for example, got {pattern!r}.'
        )
    pattern = tuple(pattern)
    if not pattern:
        raise PatternError('pattern: expected at least one dilation, got ().')
    if not all(is_integer(rate) for rate in pattern):
        raise PatternError(f'pattern: expected integers, got {pattern}.')
    check_range(pattern, f'pattern {pattern}')
    return pattern


def dilation_matrix(pattern, in_channels, out_channels, groups=1, axes='both'):
    """Dilation of each kernel (paper, section 3.2 and Figure 2).

    Args:
        pattern (Sequence[int]): The cycle, of length t.
        in_channels (int): C_in.
        out_channels (int): C_out.
        groups (int): Defaults to 1.
        axes (str): ``'both'``: ``pattern[(k - c) mod t]``; ``'input'``: ``pattern[k mod t]``;
            ``'output'``: ``pattern[c mod t]`` (Table 5); c and k count within a group.
            ``'group'``: ``pattern[j mod t]`` for group j, the rule for depthwise convolutions
            (appendix A). Defaults to ``'both'``.

    Returns:
        Tensor: int64 of shape (C_out, C_in / groups).
    """
    # On the CPU where the default device is another, meta for example, which holds no values.
    inputs = torch.arange(in_channels // groups, device='cpu')
    outputs = torch.arange(out_channels, device='cpu')[:, None]
    group, local = outputs // (out_channels // groups), outputs % (out_channels // groups)
    place = {'both': inputs - local, 'input': inputs, 'output': local, 'group': group}[axes]
    matrix = torch.tensor(pattern, device='cpu')[place % len(pattern)]
    return matrix.expand(out_channels, len(inputs)).contiguous()


class PSConv2d(OwnConv, SavedDilations, nn.Conv2d):
    """Convolution whose kernels' dilations cycle over output and input channels.

    Args:
        in_channels (int): C_in.
        out_channels (int): C_out.
        kernel_size (int | tuple[int, int]): Odd and square, from 3 up.
        stride (int | tuple[int, int]): Defaults to 1.
        padding (int | tuple[int, int] | str): Of the undilated convolution. Defaults to 0.
        dilation (int): Must be 1. Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): Defaults to True.
        pattern (Sequence[int]): The cycle of dilations. Its order matters. Defaults to
            (1, 2, 1, 4), the paper's.
        axes (str): ``'both'``, ``'input'``, ``'output'`` or ``'group'``, see
            ``dilation_matrix``. Defaults to ``'both'``.
        form (str): ``'block'``: every kernel is computed once (appendix B), by grouped convolutions
            on blocks of channels where there is no code for the layer as a whole, so that the
            multiply-adds are the plain convolution's; ``'sum'``: one dense convolution a dilation,
            the other kernels zeroed (Eq. 3), slower at every shape measured. The outputs are equal.
            Defaults to ``'block'``.

    Raises:
        PatternError: An impossible pattern, or one longer than the input channels of a group.
        ValueError: A base convolution without dilations to choose, or an unknown option.

    Shape:
        Input (N, C_in, H, W), output (N, C_out, H', W') as of ``nn.Conv2d``.
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
        pattern=(1, 2, 1, 4),
        axes='both',
        form='block',
    ):
        check_base_conv(kernel_size, dilation, padding_mode)
        pattern = check_cycle(pattern)
        for label, value, known in (('axes', axes, AXES), ('form', form, FORMS)):
            if value not in known:
                raise ValueError(f'{label} must be one of {known}, got {value!r}.')
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
        depth = in_channels // groups
        if axes in ('both', 'input') and depth < len(pattern):
            raise PatternError(
                f'a pattern of {len(pattern)} dilations needs at least as many input channels '
                f"in each group, got {depth}. With few channels a group, choose axes='group': "
                'one dilation a group, the rule for depthwise convolutions.'
            )
        self.pattern, self.axes, self.form = pattern, axes, form
        rates = dilation_matrix(pattern, in_channels, out_channels, groups, axes)
        # Saved with the weights, which mean nothing under other dilations.
        self.keep_constant('dilations', rates)
        register_plan(self, plan_by_kernel(rates, groups))
        period = len(pattern)
        divides = not in_channels % period and not out_channels % period
        several = len(set(pattern)) > 1 and axes in ('both', 'input')
        cyclic = groups == 1 and divides and several
        self._cycle = CyclicPlan(rates[:period, :period], self) if cyclic else None
        register_table(self, lambda: classes_by_kernel(rates, groups))
        self.keep_built('the dilations of its kernels')

    @classmethod
    def from_conv(cls, conv, pattern=(1, 2, 1, 4), axes='both', form='block'):
        """Build the layer for a plain convolution, with its weights.

        Args:
            conv (nn.Conv2d): Odd square kernel, dilation 1.
            pattern, axes, form: As of the class.
        """
        options = {'pattern': pattern, 'axes': axes, 'form': form}
        return copy_parameters(conv, build_like(cls, conv, **options))

    def _compute(self, x, weight, bias):
        if self.form == 'sum':
            return sum_conv2d(self, x, weight, bias)
        if is_proxy(x):
            return planned_conv2d(self, x, weight, bias)
        if kernels_apply(self, x, weight):
            return kernel_conv2d(self, x, weight, bias)
        if direct_applies(self, x, weight, bias):
            output = self._direct.conv2d(x, weight, bias)
            if output is not None:
                return output
        run = planned_conv2d if self._cycle is None else self._cycle.conv2d
        return run(self, x, weight, bias)

    def extra_repr(self):
        return f'{super().extra_repr()}, pattern={self.pattern}, axes={self.axes}'


def sum_conv2d(layer, x, weight, bias):
    """Sum over dilations r of the convolution with the kernels of dilation r (Eq. 3)."""
    padding, rates = base_padding(layer.kernel_size, layer.padding), layer.constant('dilations')
    total = None
    for rate in sorted(set(layer.pattern)):
        chosen = weight * (rates == rate)[:, :, None, None]
        padded = dilated_padding(layer.kernel_size, padding, (rate, rate))
        output = F.conv2d(x, chosen, bias, layer.stride, padded, rate, layer.groups)
        total, bias = (output if total is None else total + output), None
    return total
