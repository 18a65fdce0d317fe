"""Efficient dilation optimisation (EDO): dilations read off a trained supernet's weights.

Liu et al., "Inception Convolution with Efficient Dilation Search", CVPR 2021, section 3.2.
For filter i, Eq. 4 picks the dilation whose taps best reproduce the filter's response to a
constant input. That response is the signed total of its weights, so the error of a
dilation is ``|sum over input channels and over the taps it leaves out|``. Filters are
independent and no data is needed.

Two extensions are in no paper: dilations in whole blocks of channels (``multiple``,
``max_dilations``), and Eq. 3 with measured means of the input channels (``input_mean``).
"""

from typing import NamedTuple

import torch

from mmic.pattern import DilationPattern, LayerPattern
from mmic.search.blocks import check_blocks, choose_in_blocks
from mmic.search.layout import check_layout, layout_meta, order_in_groups
from mmic.search.response import candidates, first_minimum, infer_d_max, left_out, sum_inputs
from mmic.supernet.wide_conv import WideConv2d
from mmic.wrappers import layers_of_kind, part_of


class LayerReport(NamedTuple):
    """What EDO found in one layer.

    Attributes:
        name (str): Module name, relative to the searched scope.
        dilations (Tensor): Shape (C_out, 2).
        error (float): Remaining error, the sum of Eq. 4 over output channels.
        response (float): Sum of the supernet filters' absolute responses, to compare with.
        p_value (float): Of a chi-square test against a uniform draw; 0.0 where there is nothing
            to test: one choice for the layer, or one candidate.
        increase (float): Of the error over that of the free choice, by ``multiple`` and
            ``max_dilations``.
    """

    name: str
    dilations: torch.Tensor
    error: float
    response: float
    p_value: float
    increase: float


def search_dilations(
    weight,
    kernel_size=3,
    space='full',
    layout='sorted',
    criterion='response',
    groups=1,
    multiple=1,
    max_dilations=None,
    input_mean=None,
):
    """Choose the dilations of one layer by Eq. 4.

    Args:
        weight (Tensor): Supernet kernels, shape (C_out, C_in / groups, S, S) with
            ``S = (kernel_size - 1) * d_max + 1``.
        kernel_size (int): Side of the searched kernel, odd. Defaults to 3.
        space (str): ``'full'``: any pair per output channel; ``'1d'``: ``d_h = d_w`` per output
            channel; ``'layer'``: one pair for the layer (paper, Table 9). Defaults to ``'full'``.
        layout (str): ``'sorted'``: channels of one dilation together, as the paper rearranges
            its filters, in each group of the convolution by itself; ``'position'``: every channel
            where it was found. Defaults to ``'sorted'``.
        criterion (str): ``'response'``, Eq. 4, or ``'l1_weight'``, the sum of ``|w|`` over the
            taps left out: an ablation that is not in the paper. Defaults to ``'response'``.
        groups (int): Of the convolution, which matter to ``layout`` and to the arguments below.
            Defaults to 1.
        multiple (int): Every dilation gets a multiple of this number of channels, see
            ``check_blocks``. Where it does not divide C_out, the layer has no more blocks than
            ``ceil(C_out / multiple)``. Not in the paper. Defaults to 1.
        max_dilations (int, optional): Most dilations in the layer. Not in the paper. Defaults to
            None: any number.
        input_mean (Tensor, optional): Mean of each input channel, (C_in,), for Eq. 3. Not in the
            paper. Defaults to None: the same mean for all, Eq. 4.

    Returns:
        tuple[Tensor, Tensor]: Dilations ``(d_h, d_w)``, int64 of shape (C_out, 2), and the error
        of each channel's choice, float64 of shape (C_out,).

    Raises:
        ValueError: S fits no d_max, NaN or infinite weights, an unknown option, or numbers that
            the layer's channels do not allow.
        ImportError: ``multiple`` or ``max_dilations`` need scipy, and it is missing.
    """
    infer_d_max(weight, kernel_size)
    kernels = sum_inputs(weight, criterion, input_mean, groups)
    return choose(kernels, kernel_size, space, layout, groups, multiple, max_dilations)[:2]


def choose(
    kernels,
    kernel_size=3,
    space='full',
    layout='sorted',
    groups=1,
    multiple=1,
    max_dilations=None,
):
    """``search_dilations`` for kernels summed over input channels, float64 (C_out, S, S).

    Returns:
        tuple[Tensor, Tensor, float]: Dilations, errors, and how much larger their sum is than
        without ``multiple`` and ``max_dilations``.
    """
    check_blocks(len(kernels), groups, multiple, max_dilations, space)
    check_layout(layout)
    if not kernels.isfinite().all():
        raise ValueError('the weights hold NaN or infinite values: training has diverged.')
    d_max = (kernels.shape[-1] - 1) // (kernel_size - 1)
    pairs = candidates(d_max, space).to(kernels.device)
    errors = (kernels.flatten(1) @ left_out(pairs, kernels.shape[-1], kernel_size).T).abs()
    # (C_out, candidates); errors closer than float64 sums can tell count as equal.
    slack = kernels.flatten(1).abs().sum(1, keepdim=True) * torch.finfo(torch.float64).eps * 16
    if space == 'layer':
        choice = first_minimum(errors.sum(0, keepdim=True), slack.sum(0, keepdim=True))
        choice = choice.expand(len(errors))
    else:
        choice = first_minimum(errors, slack)
    free = errors.gather(1, choice[:, None]).sum()
    if space != 'layer':
        choice = choose_in_blocks(errors, choice, groups, multiple, max_dilations)
    dilations = pairs[choice]
    errors = errors.gather(1, choice[:, None])[:, 0]
    increase = max(0.0, (errors.sum() - free).item())
    if layout == 'sorted':
        order = order_in_groups(dilations[:, 0] * (d_max + 1) + dilations[:, 1], groups)
        dilations, errors = dilations[order], errors[order]
    return dilations, errors, increase


def uniform_p_value(dilations, pairs):
    """Chi-square test: how likely a uniform draw is as uneven as these choices.

    EDO on an untrained supernet returns a uniform draw. The chi-square survival function is
    the regularised upper incomplete gamma function.

    Returns:
        float: The p-value; 0.0 for a single candidate.
    """
    if len(pairs) < 2:
        return 0.0
    counts = (dilations[:, None] == pairs).all(-1).sum(0).double()
    expected = len(dilations) / len(pairs)
    statistic = ((counts - expected) ** 2 / expected).sum()
    half_freedom = torch.tensor((len(pairs) - 1) / 2, dtype=torch.float64)
    return torch.special.gammaincc(half_freedom, statistic.cpu() / 2).item()


def searched_layers(model, scope='', space='full', multiple=1, max_dilations=None):
    """Find the supernet layers to search and check that they can be, before any work.

    Args:
        model (nn.Module): See ``search_network``, and for the other arguments.

    Returns:
        dict[str, WideConv2d]: By name relative to ``scope``.

    Raises:
        ValueError: There is no such scope, it holds no supernet layers, or the numbers do not fit
            a layer's channels; the message names the layer.
    """
    convs = layers_of_kind(part_of(model, scope), WideConv2d)
    if not convs:
        raise ValueError(
            f'{scope or "the model"!r} holds no supernet layers (WideConv2d). Give the '
            "supernet's config: a backbone with d_max, or build_supernet."
        )
    for name, conv in convs.items():
        try:
            check_blocks(conv.out_channels, conv.groups, multiple, max_dilations, space)
        except ValueError as error:
            raise ValueError(f'Layer {name!r}: {error}') from None
    return convs


def search_network(
    model,
    space='full',
    layout='sorted',
    scope='',
    meta=None,
    progress=None,
    multiple=1,
    max_dilations=None,
    input_means=None,
):
    """Run EDO on every supernet layer of a network.

    Args:
        model (nn.Module): A network with ``WideConv2d`` layers and trained weights.
        space (str): See ``search_dilations``. Defaults to ``'full'``.
        layout (str): See ``search_dilations``. Defaults to ``'sorted'``.
        scope (str): Search only this submodule; names in the pattern are relative to it.
            Defaults to ``''``, the whole model.
        meta (dict, optional): Kept in the pattern file, with ``layout`` and its rule, ``space``,
            ``multiple``, ``max_dilations``, the remaining error of each layer and its increase
            added.
        progress (Callable[[LayerReport], None], optional): Called after each layer.
        multiple (int): See ``search_dilations``. Defaults to 1.
        max_dilations (int, optional): See ``search_dilations``. Defaults to None.
        input_means (dict[str, Tensor], optional): Mean of each input channel by the layer's name,
            as of ``mmic.search.statistics.InputMeans``. Defaults to None: Eq. 4.

    Returns:
        tuple[DilationPattern, list[LayerReport]]

    Raises:
        ValueError: There is no such scope, it holds no supernet layers, or a layer's weights are
            unusable; the message names the layer.
    """
    layers, reports, limits = {}, [], (multiple, max_dilations)
    convs = searched_layers(model, scope, space, *limits)
    for name in convs:
        if input_means is not None and name not in input_means:
            raise ValueError(f'Layer {name!r}: input_means has no mean of its input.')
    for name, conv in convs.items():
        try:
            mean = None if input_means is None else input_means[name]
            kernels = sum_inputs(conv.weight, input_mean=mean, groups=conv.groups)
            dilations, errors, increase = choose(
                kernels, conv.base_kernel_size, space, layout, conv.groups, *limits
            )
        except ValueError as error:
            raise ValueError(f'Layer {name!r}: {error}') from None
        base = (conv.base_kernel_size,) * 2
        layers[name] = LayerPattern(dilations.cpu(), base, conv.in_channels, conv.groups)
        pairs = candidates(conv.d_max, space).to(dilations.device)
        p_value = 0.0 if space == 'layer' else uniform_p_value(dilations, pairs)
        response = kernels.sum((1, 2)).abs().sum().item()
        reports.append(
            LayerReport(name, dilations, errors.sum().item(), response, p_value, increase)
        )
        if progress:
            progress(reports[-1])
    told = {**layout_meta(layout), 'space': space}
    told.update(multiple=multiple, max_dilations=max_dilations)
    told['errors'] = {report.name: round(report.error, 6) for report in reports}
    told['increases'] = {report.name: round(report.increase, 6) for report in reports}
    stage_blocks = getattr(part_of(model, scope), 'stage_blocks', None)
    pattern = DilationPattern(layers, 'edo', scope, stage_blocks, {**(meta or {}), **told})
    return pattern, reports
