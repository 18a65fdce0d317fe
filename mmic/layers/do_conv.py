"""DO-Conv: a convolution over-parameterised by a depthwise one, which fold into one kernel.

Cao et al., "DO-Conv: Depthwise Over-parameterized Convolutional Layer", TIP 2022. With a
kernel of M x N, ``W'[o, j, i] = sum over d of D[i, d, c] * W[o, j, d]`` (Eq. 3, kernel
composition), where c is the input channel that output channel o reads as its j-th. Training
sees W and D; ``fuse()`` leaves the plain convolution with W'.
"""

import torch
from torch import nn
from torch.nn import functional as F

from mmic.layers.base_conv import build_like, copy_parameters
from mmic.layers.fold import compose
from mmic.layers.own_conv import LOST_FACTOR, OwnConv, real_dilation
from mmic.pattern import is_integer

INITS = ('identity', 'random')


def stacked_identity(taps, d_mul):
    """Identity blocks side by side as far as they fit, zeros behind (paper, section 4).

    Returns:
        Tensor: Shape (taps, d_mul).
    """
    blocks = torch.eye(taps).repeat(1, d_mul // taps)
    return F.pad(blocks, (0, d_mul - blocks.shape[1]))


def is_1x1(kernel_size):
    """Whether a kernel, given as one number or two, has a single tap."""
    return kernel_size in (1, (1, 1), [1, 1])


# One call in the programs that torch.fx records: what it does depends on dtypes and devices.
@torch.fx.wrap
def fold_weight(weight, depthwise, groups, kernel_size, identity):
    """Fold W and D into one kernel, in float32 at least.

    Args:
        weight (Tensor): W, (C_out, C_in / groups, M, N) or (C_out, C_in / groups, d_mul).
        depthwise (Tensor): D' or D, (M * N, d_mul, C_in).
        groups (int): Groups of the convolution.
        kernel_size (tuple[int, int]): (M, N).
        identity (bool): Whether ``depthwise`` is D', to which the identity is added.

    Returns:
        Tensor: W', (C_out, C_in / groups, M, N).

    Raises:
        ValueError: W and D are of other layers' shapes.
    """
    taps, d_mul, in_channels = depthwise.shape
    if not torch.jit.is_tracing() and (
        tuple(weight.flatten(2).shape[1:]) != (in_channels // groups, d_mul)
    ):
        raise ValueError(
            f'DOConv2d: W has shape {tuple(weight.shape)}, which does not go with D of shape '
            f'{tuple(depthwise.shape)} and {groups} groups.'
        )
    # Composed in half precision, the small D' would be lost beside the identity.
    with torch.autocast(weight.device.type, enabled=False):
        # torch.promote_types would do, but torch 2.1 cannot compile it.
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        weight, depthwise = weight.to(dtype), depthwise.to(dtype)
        if identity:
            depthwise = depthwise + stacked_identity(taps, d_mul).to(depthwise)[:, :, None]
        return compose(weight.flatten(2), depthwise, groups).unflatten(2, kernel_size)


class DOConv2d(OwnConv, nn.Conv2d):
    """Over-parameterised convolution ``W' = D o W`` with ``D = I + D'``.

    D' starts at zero, so that the layer starts as the plain convolution, and weight decay pulls
    D towards the identity. A plain checkpoint loads into W. A 1x1 convolution has nothing to
    over-parameterise: ``DOConv2d(c_in, c_out, 1)`` is a plain ``nn.Conv2d``, since OpenMMLab's
    networks build all of their convolutions, 1x1 included, by one ``conv_cfg``.

    Args:
        in_channels (int): C_in.
        out_channels (int): C_out.
        kernel_size (int | tuple[int, int]): (M, N), 1x1 makes a plain one.
        stride (int | tuple[int, int]): Defaults to 1.
        padding (int | tuple[int, int] | str): Defaults to 0.
        dilation (int | tuple[int, int]): Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): Defaults to True.
        d_mul (int, optional): Depth multiplier, at least M * N. Defaults to None: M * N.
        init (str): ``'identity'``, or ``'random'``: D itself starts from He's initialisation
            and there is no identity in it (the paper's ablation). Defaults to ``'identity'``.

    Attributes:
        weight (Parameter): W, (C_out, C_in / groups, M, N), the plain shape, where d_mul is
            M * N; else (C_out, C_in / groups, d_mul), with fan-in d_mul * C_in / groups.
        depthwise (Parameter): D', or D for ``init='random'``, (M * N, d_mul, C_in).

    Raises:
        ValueError: d_mul below M * N, or an unknown option.

    Shape:
        Input (N, C_in, H, W), output (N, C_out, H', W') as of ``nn.Conv2d``.
    """

    # Copies and pickles are made without arguments.
    def __new__(cls, in_channels=None, out_channels=None, kernel_size=None, *args, **kwargs):
        if cls is not DOConv2d or kernel_size is None or not is_1x1(kernel_size):
            return super().__new__(cls)
        kwargs.pop('d_mul', None)
        kwargs.pop('init', None)
        return nn.Conv2d(in_channels, out_channels, kernel_size, *args, **kwargs)

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
        d_mul=None,
        init='identity',
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        taps = self.kernel_size[0] * self.kernel_size[1]
        d_mul = taps if d_mul is None else d_mul
        if taps == 1:
            raise ValueError('a 1x1 convolution has nothing to over-parameterise.')
        if not is_integer(d_mul) or d_mul < taps:
            raise ValueError(
                f'd_mul must be a whole number from {taps} up, the taps of the kernel; '
                f'got {d_mul!r}.'
            )
        if init not in INITS:
            raise ValueError(f'init must be one of {INITS}, got {init!r}.')
        self.d_mul, self.init = d_mul, init
        if d_mul != taps:
            self.weight = nn.Parameter(self.weight.new_empty(*self.weight.shape[:2], d_mul))
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.depthwise = nn.Parameter(self.weight.new_zeros(taps, d_mul, in_channels))
        if init == 'random':
            # He's initialisation; each column of D reads the M * N pixels of one channel.
            nn.init.normal_(self.depthwise, std=(2 / taps) ** 0.5)
        self.keep_built(LOST_FACTOR)

    @classmethod
    def from_conv(cls, conv, d_mul=None, init='identity'):
        """Build the layer for a plain convolution, with its weights where d_mul is M * N.

        Args:
            conv (nn.Conv2d): Any but 1x1.
            d_mul, init: As of the class.
        """
        if is_1x1(conv.kernel_size):
            raise ValueError('a 1x1 convolution has nothing to over-parameterise.')
        return copy_parameters(conv, build_like(cls, conv, d_mul=d_mul, init=init))

    def folded_weight(self, weight=None):
        """Return W', (C_out, C_in / groups, M, N), in float32 at least, with gradients.

        Args:
            weight (Tensor, optional): Another W. Defaults to None: the layer's.
        """
        weight = self.weight if weight is None else weight
        identity = self.init == 'identity'
        return fold_weight(weight, self.depthwise, self.groups, self.kernel_size, identity)

    def _compute(self, x, weight, bias):
        kernel = self.folded_weight(weight).to(weight.dtype)
        padding = self.padding
        if self.padding_mode != 'zeros':
            x = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode)
            padding = 0
        dilation = real_dilation(self)
        return F.conv2d(x, kernel, bias, self.stride, padding, dilation, self.groups)

    @torch.no_grad()
    def fuse(self):
        """Return the plain convolution that computes the same.

        Raises:
            ValueError: W or D is not finite.
        """
        kernel = self.folded_weight()
        if not kernel.isfinite().all():
            raise ValueError('the weights hold NaN or infinite values: training has diverged.')
        plain = build_like(nn.Conv2d, self)
        plain.weight.copy_(kernel)
        if self.bias is not None:
            plain.bias.copy_(self.bias)
        plain.weight.requires_grad_(self.weight.requires_grad)
        return plain.train(self.training)

    def extra_repr(self):
        return f'{super().extra_repr()}, d_mul={self.d_mul}'

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing, unexpected, errors
    ):
        name, weight = prefix.rstrip('.'), state_dict.get(f'{prefix}weight')
        depthwise = state_dict.get(f'{prefix}depthwise')
        if weight is not None and depthwise is None and self.d_mul != self.depthwise.shape[0]:
            raise ValueError(
                f'Layer {name!r}: a plain checkpoint loads into DO-Conv where d_mul is '
                f'{self.depthwise.shape[0]}, the taps of the kernel; here it is {self.d_mul}.'
            )
        if depthwise is not None and depthwise.shape != self.depthwise.shape:
            raise ValueError(
                f'Layer {name!r}: D is {tuple(depthwise.shape)} in the checkpoint and '
                f'{tuple(self.depthwise.shape)} here; was it trained with another d_mul?'
            )
        super()._load_from_state_dict(
            state_dict, prefix, metadata, strict, missing, unexpected, errors
        )
        # A plain checkpoint has W alone; D' is then zero, the same function. A random D would
        # make another function of it, so there D is reported as missing.
        missing_depthwise = f'{prefix}depthwise' in missing
        if self.init == 'identity' and weight is not None and missing_depthwise:
            missing.remove(f'{prefix}depthwise')
            # One on the meta device has no values to set; any other stays an optimizer's.
            if self.depthwise.is_meta and not self.weight.is_meta:
                zeros = torch.zeros_like(self.depthwise, device=self.weight.device)
                self.depthwise = nn.Parameter(zeros, self.depthwise.requires_grad)
            nn.init.zeros_(self.depthwise)
