"""The supernet convolution of NATS: a weighted sum of dilations for each group of channels.

Peng et al., NeurIPS 2019, section 3.3 (Eq. 3): ``y_i = sum over g of softmax(alpha_i)_g y_i^g``,
where ``y_i^g`` is slice i of the output of candidate g.
"""

from torch import nn

from mmic.compat import is_compiling
from mmic.layers.eager import is_proxy, is_transformed
from mmic.pattern import is_integer
from mmic.supernet.candidates import CandidateConv2d
from mmic.supernet.merged_conv import MergedConv2d, cheapest_parts, merged_parts

MODES = ('auto', 'features', 'kernel')


def count_groups(out_channels, num_groups=None, channels_per_group=None, groups=1):
    """Return the number of channel groups that share a genotype, N.

    Args:
        out_channels (int): C_out.
        num_groups (int, optional): N itself.
        channels_per_group (int, optional): C_out / N.
        groups (int): Of the convolution. Defaults to 1.

    Raises:
        ValueError: Both or neither are given, they do not divide C_out, or a group would end
            within one of the convolution's own groups.
    """
    given = {'num_groups': num_groups, 'channels_per_group': channels_per_group}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            'exactly one of num_groups (N) and channels_per_group (C_out / N) is needed, got '
            f'num_groups={num_groups!r} and channels_per_group={channels_per_group!r}.'
        )
    ((name, value),) = given.items()
    if not is_integer(value) or value < 1 or out_channels % value:
        raise ValueError(f'{name}={value!r} does not divide {out_channels} output channels.')
    count = value if name == 'num_groups' else out_channels // value
    if (out_channels // count) % (out_channels // groups) and groups > 1:
        raise ValueError(
            f'{name}={value} gives groups of {out_channels // count} channels, which end within '
            f'the groups of {out_channels // groups} channels of this grouped convolution; take '
            'a multiple of them.'
        )
    return count


class MixedConv2d(CandidateConv2d):
    """Sum of candidate convolutions, weighted by a softmax over ``alpha`` per channel group.

    Args:
        genotypes (Sequence[int | Sequence[int]]): The candidate dilations; d means (d, d).
        num_groups (int, optional): N, equal consecutive slices of the output channels.
        channels_per_group (int, optional): C_out / N; exactly one of the two is given.
        mode (str): How the sum is computed, with the same result: ``'features'`` adds up the
            candidates' outputs, as the paper writes it; ``'kernel'`` runs one convolution with
            the sum of the weighted kernels, of which nothing of the candidates' number is kept
            for the backward pass; ``'auto'`` keeps as little, and runs one convolution per
            candidate where that costs fewer multiply-adds. Defaults to ``'auto'``.
        *args, **kwargs: See ``CandidateConv2d``.

    Attributes:
        alpha (nn.Parameter): Shape (N, genotypes), zeros at the start: all weights equal.

    Raises:
        PatternError: Impossible or repeated genotypes.
        ValueError: Channels that the groups do not divide, or an unknown mode.

    Shape:
        Input (N, C_in, H, W), output (N, C_out, H', W') as of the plain convolution.
    """

    def __init__(
        self, *args, genotypes, num_groups=None, channels_per_group=None, mode='auto', **kwargs
    ):
        super().__init__(*args, dilations=genotypes, **kwargs)
        if mode not in MODES:
            raise ValueError(f'mode must be one of {MODES}, got {mode!r}.')
        self.mode = mode
        self.num_groups = count_groups(
            self.out_channels, num_groups, channels_per_group, self.groups
        )
        plain = self.weights[0]
        self.alpha = nn.Parameter(plain.new_zeros(self.num_groups, len(self.candidates)))
        plan = merged_parts if mode == 'kernel' else cheapest_parts
        self._parts = plan(self.candidates, self.kernel_size, self.padding)

    def scales(self):
        """Weight of each candidate in each output channel, (C_out, genotypes)."""
        shares = self.alpha.softmax(1)
        return shares.repeat_interleave(self.out_channels // self.num_groups, 0)

    def _compute(self, x):
        # Compilers, torch.fx and torch.func follow operators and not a function of ours.
        if self.mode == 'features' or is_proxy(x) or is_compiling() or is_transformed():
            return self._sum_features(x)
        return MergedConv2d.apply(
            x, self.scales(), self.bias, self._parts, self.stride, self.groups, *self.weights
        )

    def _sum_features(self, x):
        scales = self.scales().t()[:, :, None, None]  # (genotypes, C_out, 1, 1)
        count = len(self.candidates)
        total = sum(scales[index] * self.convolve(x, index) for index in range(count))
        return total if self.bias is None else total + self.bias[:, None, None]

    def extra_repr(self):
        return f'{super().extra_repr()}, num_groups={self.num_groups}, mode={self.mode!r}'
