"""Decoding of a NATS supernet: the genotype with the largest alpha in each channel group.

Peng et al., NeurIPS 2019, section 3.4 (Eq. 4-6). A genotype that wins in n of the N groups
gets ``C_out * n / N`` output channels, and Eq. 6 concatenates the genotypes' outputs. The paper
does not say how in a grouped convolution, ResNeXt's. That is several convolutions side by side, and
the equation is applied to each: a genotype stays with the inputs that it was chosen for.
"""

import math
from typing import NamedTuple

import torch

from mmic.pattern import DilationPattern, LayerPattern
from mmic.search.layout import check_layout, layout_meta, order_in_groups
from mmic.supernet.candidates import as_pairs
from mmic.supernet.mixed_conv import MixedConv2d
from mmic.wrappers import layers_of_kind, part_of


class LayerReport(NamedTuple):
    """What a supernet layer has decided.

    Attributes:
        name (str): Module name, relative to the searched scope.
        dilations (Tensor): Shape (C_out, 2).
        entropy (float): Of the softmax over alpha, mean over groups, as a share of that of equal
            weights: 1.0 before the search, 0.0 where every group has decided.
    """

    name: str
    dilations: torch.Tensor
    entropy: float


def decode(alpha, genotypes, out_channels, layout='sorted', groups=1):
    """Choose the dilations of one layer.

    Ties go to the genotype that is listed first.

    Args:
        alpha (Tensor): Shape (N, genotypes).
        genotypes (Sequence[int | Sequence[int]]): The candidate dilations; d means (d, d).
        out_channels (int): C_out, a multiple of N.
        layout (str): ``'sorted'``: the genotypes one after the other, each with as many channels
            as it won (Eq. 5, 6), in each group of the convolution by itself; ``'position'``: every
            channel group keeps its place and its own genotype. Defaults to ``'sorted'``.
        groups (int): Of the convolution, not of channels that share an alpha. Defaults to 1.

    Returns:
        Tensor: ``(d_h, d_w)`` of each output channel, int64 of shape (C_out, 2).

    Raises:
        ValueError: A shape that does not fit, NaN or infinite values, or an unknown layout.
    """
    pairs = as_pairs(genotypes)
    check_layout(layout)
    if alpha.ndim != 2 or alpha.shape[1] != len(pairs) or not len(alpha):
        raise ValueError(
            f'expected alpha of shape (N, {len(pairs)}), one column a genotype; got '
            f'{tuple(alpha.shape)}.'
        )
    if out_channels % len(alpha):
        raise ValueError(f'{len(alpha)} groups do not divide {out_channels} output channels.')
    if out_channels % groups:
        raise ValueError(f'{groups} groups do not divide {out_channels} output channels.')
    if not alpha.isfinite().all():
        raise ValueError('alpha holds NaN or infinite values: the search has diverged.')
    winners = alpha.detach().cpu().argmax(1)  # of equals the first
    winners = winners.repeat_interleave(out_channels // len(alpha))
    if layout == 'sorted':
        winners = winners[order_in_groups(winners, groups)]
    return torch.tensor(pairs)[winners]


def relative_entropy(alpha):
    """Entropy of the softmax over genotypes, mean over groups, divided by its maximum."""
    if alpha.shape[1] == 1:
        return 0.0
    logs = alpha.detach().double().log_softmax(1)
    return (-(logs.exp() * logs).sum(1).mean() / math.log(alpha.shape[1])).item()


def search_network(model, layout='sorted', scope='', meta=None, alphas=None):
    """Decode every supernet layer of a network.

    Args:
        model (nn.Module): A network with ``MixedConv2d`` layers.
        layout (str): See ``decode``. Defaults to ``'sorted'``.
        scope (str): Search only this submodule; names in the pattern are relative to it.
            Defaults to ``''``, the whole model.
        meta (dict, optional): Kept in the pattern file, with ``layout`` and its rule, the number
            of channel groups and the entropy of each layer added.
        alphas (dict[str, Tensor], optional): Alpha by the layers' full names, to be read in
            place of the layers' own. Defaults to None.

    Returns:
        tuple[DilationPattern, list[LayerReport]]

    Raises:
        ValueError: There is no such scope, it holds no supernet layers, or an alpha is
            unusable; the message names the layer.
    """
    part = part_of(model, scope)
    layers, reports, groups = {}, [], {}
    for name, conv in layers_of_kind(part, MixedConv2d).items():
        full_name = f'{scope}.{name}' if scope else name
        alpha = conv.alpha if alphas is None else alphas[full_name]
        try:
            dilations = decode(alpha, conv.candidates, conv.out_channels, layout, conv.groups)
        except ValueError as error:
            raise ValueError(f'Layer {name!r}: {error}') from None
        layers[name] = LayerPattern(dilations, conv.kernel_size, conv.in_channels, conv.groups)
        groups[name] = len(alpha)
        reports.append(LayerReport(name, dilations, relative_entropy(alpha)))
    if not layers:
        raise ValueError(
            f'{scope or "the model"!r} holds no supernet layers (MixedConv2d). Give the '
            "supernet's config: a backbone with genotypes."
        )
    told = {**layout_meta(layout), 'num_groups': groups}
    told['entropy'] = {report.name: round(report.entropy, 4) for report in reports}
    stage_blocks = getattr(part, 'stage_blocks', None)
    pattern = DilationPattern(layers, 'nats', scope, stage_blocks, {**(meta or {}), **told})
    return pattern, reports
