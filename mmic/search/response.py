"""What EDO compares: how much of a supernet filter's response each dilation leaves out.

Liu et al., CVPR 2021, Eq. 3 and 4: the response to an input whose mean is the same everywhere is
a signed total of the weights.
"""

import math

import torch

SPACES = ('full', '1d', 'layer')
# Elements converted to float64 at a time: 2 MiB, which stays in a core's cache.
CHUNK = 2**18


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


def sum_inputs(weight, criterion='response', input_mean=None, groups=1):
    """Sum kernels over input channels in float64: (C_out, C_in / groups, S, S) to (C_out, S, S).

    Converted chunk by chunk: a whole float64 copy would double the memory twice over.

    Args:
        weight (Tensor): Supernet kernels.
        criterion (str): See ``search_dilations``. Defaults to ``'response'``.
        input_mean (Tensor, optional): Weight of each input channel in the sum, (C_in,). Defaults
            to None: 1 for each.
        groups (int): Of the convolution; filters of a group have its part of ``input_mean``.
            Defaults to 1.
    """
    if criterion not in ('response', 'l1_weight'):
        raise ValueError(f"criterion must be 'response' or 'l1_weight', got {criterion!r}.")
    weight = weight.detach().flatten(2)  # (C_out, C_in / groups, S * S)
    if input_mean is not None:
        means = means_of_filters(input_mean, weight, groups)
    rows = min(len(weight), max(1, CHUNK // max(1, weight[0].numel())))
    buffer = torch.empty_like(weight[:rows], dtype=torch.float64)
    out = torch.empty_like(weight[:, 0], dtype=torch.float64)
    for start, chunk, target in zip(
        range(0, len(weight), rows), weight.split(rows), out.split(rows)
    ):
        converted = buffer[: len(chunk)].copy_(chunk)
        if input_mean is not None:
            converted.mul_(means[start : start + rows, :, None])
        if criterion == 'l1_weight':
            converted.abs_()
        torch.sum(converted, 1, out=target)
    side = math.isqrt(out.shape[1])
    return out.unflatten(1, (side, side))


def means_of_filters(input_mean, weight, groups):
    """Return the means of the input channels that each filter sees, (C_out, C_in / groups)."""
    depth = weight.shape[1]
    if input_mean.shape != (depth * groups,):
        raise ValueError(
            f'input_mean has shape {tuple(input_mean.shape)}; the layer has {depth * groups} '
            'input channels.'
        )
    if not input_mean.isfinite().all():
        raise ValueError('input_mean holds NaN or infinite values: the network has diverged.')
    means = input_mean.to(weight.device, torch.float64).view(groups, depth)
    return means.repeat_interleave(len(weight) // groups, 0)


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
