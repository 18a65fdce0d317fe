"""Effective receptive fields (ERF): which input pixels a unit in the middle of a map depends on.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
NIPS 2016, as NATS (section 4.4: the backbone's last map) and CR-NAS (Figure 1: levels P3 to P5 of
the FPN) draw it. An image of ones goes through the network without its activations; a gradient
of one at the middle of every channel of a map goes back to the image.

The papers leave open: how the channels of the image are joined (here the sum of |gradient|), the
scale (the largest is 1), batch normalisation (eval mode), and max-pooling. On a constant image
all values of a max-pool window are equal and the whole gradient would go to one corner of it, so
average pooling of the same shape stands in.
"""

import copy
import math
from typing import NamedTuple, Tuple

import torch
from torch import nn

from mmic.analysis.image import image_channels

PLACES = ('backbone', 'neck')
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish),
)
# Classes of mmcv, which this file does not import.
ACTIVATION_NAMES = ('Swish', 'HSwish')
# The outer part of each side of the image that counts as its border.
BORDER = 1 / 16


class ERF(NamedTuple):
    """The effective receptive field of one map of a network.

    Attributes:
        name (str): ``'C5'`` or ``'P3'``: of the backbone or the neck, stride ``2 ** 5`` or
            ``2 ** 3``.
        map (Tensor): Sum over the channels of the input's |gradient|, divided by its largest value;
            float64, shape (H, W).
        stride (int): Of the map, in pixels.
        centre (tuple[int, int]): ``(row, column)`` in pixels: the unit's position times the
            stride. There the odd kernels of ResNets and the FPN are centred, and mmdet's anchors
            lie there; stacks of even kernels (patches) are centred (stride - 1) / 2 further.
        radius50 (float): Smallest distance from the centre, in pixels, within which 50 % of the
            map's sum lie.
        radius95 (float): The same for 95 %.
        border (float): Share of the sum on the image's border, its outer sixteenth on each side.
            Much there means that the image cuts the field and the radii are too small.
    """

    name: str
    map: torch.Tensor
    stride: int
    centre: Tuple[int, int]
    radius50: float
    radius95: float
    border: float


def measure_erfs(model, at='backbone', levels=None, image_size=512, channels=None):
    """Measure the ERF of the unit at (H // 2, W // 2) of maps of a network.

    Args:
        model (nn.Module): A detector, classifier or other model with a ``backbone``, or any
            module that takes an image and returns one map or several. It is left as it is.
        at (str): ``'backbone'``: the maps of ``model.backbone``; ``'neck'``: those of
            ``model.extract_feat``. A module without a ``backbone`` is called itself. Defaults
            to ``'backbone'``.
        levels (Sequence[int], optional): Maps by level, l for stride ``2 ** l``. Where several
            maps have that stride the last is taken. Defaults to None: the last map.
        image_size (int): Side of the image in pixels; a multiple of the largest stride.
            Defaults to 512, as in CR-NAS.
        channels (int, optional): Of the image. Defaults to None: see ``image_channels``.

    Returns:
        list[ERF]: In the order of ``levels``.

    Raises:
        ValueError: There is no such part or level, the output holds something else than maps,
            or the gradient is zero, NaN or infinite.

    Note:
        Activations are removed where they are modules. Those called as functions inside a
        network's code cannot be found and stay; so do gates (sigmoids), attention, and norms
        with statistics of their own input.
    """
    run = _network_without_activations(model, at)
    like = next(model.parameters(), torch.empty(0))
    channels = image_channels(model) if channels is None else channels
    ones = torch.ones(1, channels, image_size, image_size, dtype=like.dtype, device=like.device)
    with torch.enable_grad():
        maps = _as_maps(run(ones.requires_grad_()))
        by_level = {_level(found, image_size): found for found in maps}
        if levels is None:
            levels = [_level(maps[-1], image_size)]
            by_level[levels[0]] = maps[-1]
        letter = {'backbone': 'C', 'neck': 'P'}[at]
        for level in levels:
            if level not in by_level:
                there = ', '.join(f'{letter}{known}' for known in sorted(by_level))
                raise ValueError(
                    f'the {at} has no {letter}{level} (stride {2**level}); it has {there}.'
                )
        return [_measure(f'{letter}{level}', ones, by_level[level]) for level in levels]


def _network_without_activations(model, at):
    """The function from image to maps, of a changed copy of the model."""
    if at not in PLACES:
        raise ValueError(f'at must be one of {PLACES}, got {at!r}.')
    if not hasattr(model, 'backbone'):
        return without_activations(model)
    if at == 'backbone':
        return without_activations(model.backbone)
    if getattr(model, 'neck', None) is None:
        raise ValueError(f"{type(model).__name__} has no neck; measure at='backbone'.")
    return without_activations(model).extract_feat


def without_activations(model):
    """Copy a network for ERFs: no activations, average for max-pooling, frozen, eval mode.

    Args:
        model (nn.Module): Left as it is.

    Returns:
        nn.Module

    Raises:
        ValueError: A max-pool with dilation or ``return_indices``, which average pooling has not.
    """
    # In a holder, since the model may itself be an activation or a pool.
    holder = nn.ModuleDict({'model': copy.deepcopy(model)})
    for parent_name, parent in list(holder.named_modules()):
        # named_children would skip the second of two attributes that share a module.
        for name, child in list(parent._modules.items()):
            if isinstance(child, ACTIVATIONS) or type(child).__name__ in ACTIVATION_NAMES:
                parent._modules[name] = nn.Identity()
            elif isinstance(child, nn.MaxPool2d):
                place = f'{parent_name}.{name}'.strip('.')[len('model.') :]
                parent._modules[name] = _average_pool(place, child)
    network = holder['model']
    network.eval()  # mmdet's backbones return nothing here
    return network.requires_grad_(False)


def _average_pool(name, pool):
    if pool.dilation not in (1, (1, 1)) or pool.return_indices:
        raise ValueError(f'Max-pool {name!r} ({pool}) has no average pooling of its form.')
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def _as_maps(output):
    """The maps that a network returned, as a list of tensors (1, C, H, W)."""
    if isinstance(output, torch.Tensor):
        output = [output]
    maps = list(output.values() if isinstance(output, dict) else output)
    for found in maps:
        if not isinstance(found, torch.Tensor) or found.ndim != 4:
            shape = tuple(found.shape) if hasattr(found, 'shape') else type(found).__name__
            raise ValueError(f'the network returns {shape} where a map (1, C, H, W) is expected.')
    return maps


def _level(found, image_size):
    return round(math.log2(image_size / found.shape[2]))


def _measure(name, image, found):
    """The ERF of one map; the graph is kept for further maps."""
    height, width = found.shape[2:]
    image.grad = None
    # backward and not autograd.grad, which activation checkpointing does not support.
    found[:, :, height // 2, width // 2].sum().backward(retain_graph=True)
    mass = image.grad[0].detach().double().abs().sum(0).cpu()
    if not mass.isfinite().all() or not mass.any():
        raise ValueError(
            f'the gradient of {name} is zero, NaN or infinite; no receptive field can be seen. '
            'Have the weights diverged?'
        )
    mass /= mass.max()
    stride = round(image.shape[2] / height)
    centre = (height // 2 * stride, width // 2 * stride)
    radii = [radius(mass, centre, share) for share in (0.5, 0.95)]
    return ERF(name, mass, stride, centre, *radii, border_share(mass))


def radius(mass, centre, share):
    """Smallest distance within which a share of the mass lies.

    Args:
        mass (Tensor): Non-negative, shape (H, W).
        centre (tuple[float, float]): ``(row, column)``.
        share (float): From 0 to 1.

    Returns:
        float: In pixels.
    """
    rows = torch.arange(mass.shape[0], dtype=torch.float64)[:, None] - centre[0]
    columns = torch.arange(mass.shape[1], dtype=torch.float64) - centre[1]
    distances, order = (rows**2 + columns**2).sqrt().flatten().sort()
    summed = mass.double().flatten()[order].cumsum(0)
    return distances[torch.searchsorted(summed, share * summed[-1])].item()


def border_share(mass):
    """Share of the mass within the outer sixteenth of the image on each of its sides."""
    top, left = (max(1, round(BORDER * side)) for side in mass.shape)
    inside = mass[top : mass.shape[0] - top, left : mass.shape[1] - left]
    return max(0.0, 1 - (inside.sum() / mass.sum()).item())  # rounding may pass 1
