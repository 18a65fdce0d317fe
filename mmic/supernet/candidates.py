"""What supernet layers share that hold one weight for each dilation they choose from."""

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
from mmic.layers.eager import is_proxy
from mmic.layers.saved_dilations import ConstantBuffers, same_dilations
from mmic.pattern import PatternError, check_dilations, is_integer


def as_pairs(dilations):
    """Return candidates as pairs; a whole number d means (d, d).

    Args:
        dilations (Sequence[int | Sequence[int]]): For example ``[1, 2, (1, 3)]``.

    Returns:
        list[tuple[int, int]]: ``(d_h, d_w)``.

    Raises:
        PatternError: None, one twice, or one that is no dilation.
    """
    if not isinstance(dilations, (list, tuple)) or not dilations:
        raise PatternError(f'expected a list of dilations to choose from, got {dilations!r}.')
    pairs = [(value, value) if is_integer(value) else value for value in dilations]
    pairs = [tuple(pair) for pair in check_dilations(pairs, 'candidates').tolist()]
    twice = [pair for pair in pairs if pairs.count(pair) > 1]
    if twice:
        raise PatternError(f'candidate {twice[0]} stands twice in {dilations!r}.')
    return pairs


class CandidateConv2d(ConstantBuffers):
    """Holds one weight of the plain convolution's shape for each candidate dilation.

    The weights start as copies of one. A plain network's checkpoint fills all of them.

    Args:
        in_channels (int): C_in.
        out_channels (int): C_out.
        kernel_size (int | tuple[int, int]): Odd and square, from 3 up.
        stride (int | tuple[int, int]): Defaults to 1.
        padding (int | tuple[int, int] | str): Of the undilated convolution. Defaults to 0.
        dilation (int): Must be 1. Defaults to 1.
        groups (int): Defaults to 1.
        bias (bool): One for all candidates. Defaults to True.
        dilations (Sequence[int | Sequence[int]]): The candidates; d means (d, d).
        share_weights (bool): Keep a single weight, used with every dilation. Defaults to False.

    Attributes:
        candidates (list[tuple[int, int]]): ``(d_h, d_w)`` of each candidate.
        weights (nn.ParameterList): One per candidate, or one where they are shared; each
            (C_out, C_in / groups, k, k).

    Raises:
        PatternError: Impossible or repeated candidates.
        ValueError: A base convolution without dilations to choose.
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
        dilations,
        share_weights=False,
    ):
        super().__init__()
        size = check_base_conv(kernel_size, dilation, padding_mode)
        plain = nn.Conv2d(
            in_channels, out_channels, size, stride, 0, 1, groups, bias, device=device, dtype=dtype
        )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = plain.kernel_size, plain.stride
        self.padding = base_padding(self.kernel_size, padding)
        self.candidates = as_pairs(dilations)
        count = 1 if share_weights else len(self.candidates)
        self.weights = nn.ParameterList(
            nn.Parameter(plain.weight.detach().clone()) for _ in range(count)
        )
        self.register_parameter('bias', plain.bias)
        # Saved with the weights, which mean nothing under other dilations.
        self.keep_constant('dilations', torch.tensor(self.candidates, device='cpu'))

    @classmethod
    def from_conv(cls, conv, **options):
        """Build the layer for a plain convolution, with copies of its weight.

        Args:
            conv (nn.Conv2d): Odd square kernel, dilation 1.
            **options: The layer's own arguments.
        """
        new = copy_parameters(conv, build_like(cls, conv, **options))
        with torch.no_grad():
            for weight in new.weights:
                weight.copy_(conv.weight)
        return new

    def init_weights(self):
        """Initialise as mmdet's ResNets do their convolutions; mmengine calls it.

        Their ``init_cfg`` names ``Conv2d``, which this is not. A pretrained checkpoint is loaded
        afterwards.
        """
        first = self.weights[0]
        nn.init.kaiming_normal_(first, mode='fan_out', nonlinearity='relu')
        with torch.no_grad():
            for weight in self.weights[1:]:
                weight.copy_(first)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x):
        # For torch.fx a shape is no number.
        if not is_proxy(x) and x.dim() == 3:
            return self._compute(x.unsqueeze(0)).squeeze(0)
        return self._compute(x)

    def weight_of(self, index):
        """The weight of candidate ``index``, (C_out, C_in / groups, k, k)."""
        return self.weights[min(index, len(self.weights) - 1)]

    def convolve(self, x, index, bias=None):
        """Run candidate ``index`` alone: (N, C_in, H, W) to (N, C_out, H', W')."""
        pair, weight = self.candidates[index], self.weight_of(index)
        padding = dilated_padding(self.kernel_size, self.padding, pair)
        return F.conv2d(x, weight, bias, self.stride, padding, pair, self.groups)

    def extra_repr(self):
        shown = ', '.join(str(pair) for pair in self.candidates)
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, '
            f'stride={self.stride}, padding={self.padding}, groups={self.groups}, '
            f'bias={self.bias is not None}, candidates=[{shown}]'
        )

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing, unexpected, errors
    ):
        name = prefix.rstrip('.')
        saved = state_dict.get(f'{prefix}dilations')
        built = torch.tensor(self.candidates, device='cpu')
        known = saved is not None and not saved.is_meta
        if known and not same_dilations(saved.cpu(), built):
            raise PatternError(
                f'Layer {name!r}: the checkpoint was trained with the candidates '
                f'{saved.tolist()}, the config has {self.candidates}.'
            )
        # The child module that holds the weights looks into the same dict.
        plain = state_dict.pop(f'{prefix}weight', None)
        if plain is not None:
            for index, weight in enumerate(self.weights):
                if plain.shape != weight.shape:
                    raise ValueError(
                        f'Layer {name!r}: weight {tuple(plain.shape)} in the checkpoint, '
                        f'{tuple(weight.shape)} in the supernet.'
                    )
                state_dict[f'{prefix}weights.{index}'] = plain
        super()._load_from_state_dict(
            state_dict, prefix, metadata, strict, missing, unexpected, errors
        )
        if plain is not None:
            own = [f'{prefix}{key}' for key in (*self._parameters, *self._buffers)]
            missing[:] = [key for key in missing if key not in own or key == f'{prefix}bias']
