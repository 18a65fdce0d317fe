"""Efficient dilation optimisation (EDO): dilations read off a trained supernet's weights.

Liu et al., "Inception Convolution with Efficient Dilation Search", CVPR 2021, section 3.2.
For filter i, Eq. 4 picks the dilation whose taps best reproduce the filter's response to a
constant input. That response is the signed total of its weights, so the error of a
dilation is ``|sum over input channels and over the taps it leaves out|``. Filters are
independent and no data is needed.
"""

import math
from typing import NamedTuple

import torch

from mmic.pattern import DilationPattern, LayerPattern
from mmic.supernet.wide_conv import WideConv2d

SPACES = ('full', '1d', 'layer')
LAYOUTS = ('sorted', 'position')
# Elements converted to float64 at a time: 2 MiB, which stays in a core's cache.
CHUNK = 2**18


class LayerReport(NamedTuple):
    """What EDO found in one layer.

    Attributes:
        name (str): Module name, relative to the searched scope.
        dilations (Tensor): Shape (C_out, 2).
        error (float): Remaining error, the sum of Eq. 4 over output channels.
        response (float): Sum of the supernet filters' absolute responses, to compare with.
        p_value (float): Of a chi-square test against a uniform draw; 0.0 where there is nothing
            to test: one choice for the layer, or one candidate.
    """

    name: str
    dilations: torch.Tensor
    error: float
    response: float
    p_value: float


def candidates(d_max, space='full'):
    """List the dilations to choose from, the preferred one of equals first.

    Ties go to the smallest ``d_h + d_w``, then the smallest ``d_h``, then ``d_w``.

    Returns:
        Tensor: ``(d_h, d_w)``, shape (d_max ** 2, 2), or (d_max, 2) for space ``'1d'``.
    """
    if space not in SPACES:
        raise ValueError(f'space must be one of {SPACES}, got {space!r}.')
    pairs = [(h, w) for h in range(1, d_max + 1) for w in range(1, d_max + 1)]
    if space == '1d':
        pairs = [(h, w) for h, w in pairs if h == w]
    return torch.tensor(sorted(pairs, key=lambda pair: (sum(pair), *pair)), device='cpu')


def search_dilations(weight, kernel_size=3, space='full', layout='sorted', criterion='response'):
    """Choose the dilations of one layer by Eq. 4.

    Args:
        weight (Tensor): Supernet kernels, shape (C_out, C_in / groups, S, S) with
            ``S = (kernel_size - 1) * d_max + 1``.
        kernel_size (int): Side of the searched kernel, odd. Defaults to 3.
        space (str): ``'full'``: any pair per output channel; ``'1d'``: ``d_h = d_w`` per output
            channel; ``'layer'``: one pair for the layer (paper, Table 9). Defaults to ``'full'``.
        layout (str): ``'sorted'``: channels of one dilation together, as the paper rearranges
            its filters; ``'position'``: every channel where it was found. Defaults to ``'sorted'``.
        criterion (str): ``'response'``, Eq. 4, or ``'l1_weight'``, the sum of ``|w|`` over the
            taps left out: an ablation that is not in the paper. Defaults to ``'response'``.

    Returns:
        tuple[Tensor, Tensor]: Dilations ``(d_h, d_w)``, int64 of shape (C_out, 2), and the error
        of each channel's choice, float64 of shape (C_out,).

    Raises:
        ValueError: S fits no d_max, NaN or infinite weights, or an unknown option.
    """
    infer_d_max(weight, kernel_size)
    return choose(sum_inputs(weight, criterion), kernel_size, space, layout)


def choose(kernels, kernel_size=3, space='full', layout='sorted'):
    """``search_dilations`` for kernels summed over input channels, float64 (C_out, S, S)."""
    if layout not in LAYOUTS:
        raise ValueError(f'layout must be one of {LAYOUTS}, got {layout!r}.')
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
    dilations = pairs[choice]
    errors = errors.gather(1, choice[:, None])[:, 0]
    if layout == 'sorted':
        order = (dilations[:, 0] * (d_max + 1) + dilations[:, 1]).argsort(stable=True)
        dilations, errors = dilations[order], errors[order]
    return dilations, errors


def infer_d_max(weight, kernel_size):
    """Return d_max of a supernet kernel, or say why its size fits none."""
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size must be odd and from 3 up, got {kernel_size}.')
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f'expected weights (C_out, C_in, S, S), got {tuple(weight.shape)}.')
    d_max, rest = divmod(weight.shape[-1] - 1, kernel_size - 1)
    if rest or d_max < 1:
        raise ValueError(
            f'a {weight.shape[2]}x{weight.shape[3]} kernel holds no dilations of a '
            f'{kernel_size}x{kernel_size} one; its side must be (kernel_size - 1) * d_max + 1.'
        )
    return d_max


def sum_inputs(weight, criterion='response'):
    """Sum kernels over input channels in float64: (C_out, C_in, S, S) to (C_out, S, S).

    Converted chunk by chunk: a whole float64 copy would double the memory twice over.
    """
    if criterion not in ('response', 'l1_weight'):
        raise ValueError(f"criterion must be 'response' or 'l1_weight', got {criterion!r}.")
    weight = weight.detach().flatten(2)  # (C_out, C_in, S * S)
    rows = min(len(weight), max(1, CHUNK // max(1, weight[0].numel())))
    buffer = torch.empty_like(weight[:rows], dtype=torch.float64)
    out = torch.empty_like(weight[:, 0], dtype=torch.float64)
    for chunk, target in zip(weight.split(rows), out.split(rows)):
        converted = buffer[: len(chunk)].copy_(chunk)
        if criterion == 'l1_weight':
            converted.abs_()
        torch.sum(converted, 1, out=target)
    side = math.isqrt(out.shape[1])
    return out.unflatten(1, (side, side))


def left_out(pairs, size, kernel_size):
    """Mark the taps that each dilation leaves out: float64, (candidates, size * size)."""
    taps = torch.arange(kernel_size, device=pairs.device) - kernel_size // 2
    kept = size // 2 + pairs[:, :, None] * taps  # (candidates, 2, kernel_size)
    masks = torch.ones(len(pairs), size, size, dtype=torch.float64, device=pairs.device)
    index = torch.arange(len(pairs), device=pairs.device)[:, None, None]
    masks[index, kept[:, 0, :, None], kept[:, 1, None, :]] = 0
    return masks.flatten(1)


def first_minimum(errors, slack):
    """Index of the first candidate in each row within ``slack`` of the smallest error."""
    near = errors <= errors.min(1, keepdim=True).values + slack
    return near.int().argmax(1)


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


def search_network(model, space='full', layout='sorted', scope='', meta=None, progress=None):
    """Run EDO on every supernet layer of a network.

    Args:
        model (nn.Module): A network with ``WideConv2d`` layers and trained weights.
        space (str): See ``search_dilations``. Defaults to ``'full'``.
        layout (str): See ``search_dilations``. Defaults to ``'sorted'``.
        scope (str): Search only this submodule; names in the pattern are relative to it.
            Defaults to ``''``, the whole model.
        meta (dict, optional): Kept in the pattern file, with ``layout``, ``space`` and the
            remaining error of each layer added.
        progress (Callable[[LayerReport], None], optional): Called after each layer.

    Returns:
        tuple[DilationPattern, list[LayerReport]]

    Raises:
        ValueError: There is no such scope, it holds no supernet layers, or a layer's weights are
            unusable; the message names the layer.
    """
    layers, reports = {}, []
    modules = dict(model.named_modules())
    if scope not in modules:
        raise ValueError(f'The model has no part {scope!r}.')
    module = modules[scope]
    for name, conv in module.named_modules():
        if not isinstance(conv, WideConv2d):
            continue
        try:
            kernels = sum_inputs(conv.weight)
            dilations, errors = choose(kernels, conv.base_kernel_size, space, layout)
        except ValueError as error:
            raise ValueError(f'Layer {name!r}: {error}') from None
        base = (conv.base_kernel_size,) * 2
        layers[name] = LayerPattern(dilations.cpu(), base, conv.in_channels, conv.groups)
        pairs = candidates(conv.d_max, space).to(dilations.device)
        p_value = 0.0 if space == 'layer' else uniform_p_value(dilations, pairs)
        response = kernels.sum((1, 2)).abs().sum().item()
        reports.append(LayerReport(name, dilations, errors.sum().item(), response, p_value))
        if progress:
            progress(reports[-1])
    if not layers:
        raise ValueError(
            f'{scope or "the model"!r} holds no supernet layers (WideConv2d). Give the '
            "supernet's config: a backbone with d_max, or build_supernet."
        )
    told = {'layout': layout, 'space': space}
    told['errors'] = {report.name: round(report.error, 6) for report in reports}
    stage_blocks = getattr(module, 'stage_blocks', None)
    pattern = DilationPattern(layers, 'edo', scope, stage_blocks, {**(meta or {}), **told})
    return pattern, reports
