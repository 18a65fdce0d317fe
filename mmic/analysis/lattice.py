"""Kernel lattices: the dilation of each kernel by its output and its input channel.

PSConv (Li et al., ECCV 2020), Figures 1 to 5. A kernel lies between one input and one output
channel; between channels of different groups there is none.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor

from mmic.layers.ps_conv import PSConv2d, dilation_matrix
from mmic.pattern import LayerPattern


class Lattice(NamedTuple):
    """The dilations of a layer's kernels.

    Attributes:
        title (str): What is written above it.
        dilations (Tensor): ``(d_h, d_w)`` of each kernel, int64 of shape (C_out, C_in, 2); zeros
            where groups leave no kernel.
        rows (list[int], optional): The output channel that each row shows. None: in order.
        columns (list[int], optional): The input channel that each column shows.
    """

    title: str
    dilations: Tensor
    rows: Optional[List[int]] = None
    columns: Optional[List[int]] = None


def psconv_lattice(
    cycle: Sequence[int],
    in_channels: int,
    out_channels: int,
    groups: int = 1,
    axes: str = 'both',
    rearranged: bool = False,
) -> Lattice:
    """The lattice of a PSConv layer (section 3.2, Figures 2, 3 and 5).

    Args:
        cycle (Sequence[int]): The cycle of dilations, of length t; (1,) is a plain convolution.
        in_channels (int): C_in.
        out_channels (int): C_out.
        groups (int): Defaults to 1.
        axes (str): See ``mmic.layers.ps_conv.dilation_matrix``. Defaults to ``'both'``.
        rearranged (bool): Put channels of equal place in the cycle side by side, as the paper does
            to compute the layer (appendix B, Figure 4). Defaults to False.

    Raises:
        ValueError: ``PSConv2d`` refuses such a layer.
    """
    # The layer knows what is impossible; on the meta device it costs no memory.
    layer = PSConv2d(
        in_channels, out_channels, 3, groups=groups, pattern=cycle, axes=axes, device='meta'
    )
    matrix = dilation_matrix(layer.pattern, in_channels, out_channels, groups, axes)
    lattice = Lattice(
        f'cycle {" ".join(map(str, layer.pattern))}, axes {axes}, groups {groups}',
        spread_groups(matrix[..., None].expand(-1, -1, 2), groups),
    )
    if not rearranged:
        return lattice
    period = len(layer.pattern)
    rows = _by_place(out_channels, groups, period, axes == 'group')
    columns = _by_place(in_channels, groups, period, axes == 'group')
    moved = lattice.dilations[rows][:, columns]
    return Lattice(f'{lattice.title}, rearranged', moved, rows, columns)


def _by_place(channels: int, groups: int, period: int, whole: bool) -> List[int]:
    """Channels sorted by their place in the cycle, within groups or as whole groups."""
    size = channels // groups

    def place(channel: int) -> Tuple[int, int]:
        group, local = divmod(channel, size)
        return (group % period, group) if whole else (group, local % period)

    return sorted(range(channels), key=place)


def pattern_lattice(name: str, layer: LayerPattern) -> Lattice:
    """The lattice of a layer of a pattern file: all kernels of an output channel are alike.

    Args:
        name (str): Of the layer.
        layer (LayerPattern): It must know its input channels.

    Raises:
        ValueError: It does not, as in published files.
    """
    if layer.in_channels is None:
        raise ValueError(f'layer {name!r}: the file has no in_channels, which a lattice needs.')
    depth = layer.in_channels // layer.groups
    rows = layer.dilations[:, None].expand(-1, depth, -1)
    return Lattice(f'{name}, groups {layer.groups}', spread_groups(rows, layer.groups))


def spread_groups(dilations: Tensor, groups: int) -> Tensor:
    """Put each group's kernels at its own input channels.

    Args:
        dilations (Tensor): Of the kernels that there are, (C_out, C_in / groups, 2).
        groups (int): Divides C_out.

    Returns:
        Tensor: (C_out, C_in, 2), zeros where there is no kernel.
    """
    size, depth = len(dilations) // groups, dilations.shape[1]
    spread = dilations.new_zeros(len(dilations), depth * groups, 2)
    for group in range(groups):
        rows = slice(group * size, (group + 1) * size)
        spread[rows, group * depth : (group + 1) * depth] = dilations[rows]
    return spread
