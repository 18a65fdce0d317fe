"""Channels of equal dilations put together, as a table of integers that the kernels read."""

import itertools
from typing import List, NamedTuple, Tuple

import torch

# What reading a tile of pixels costs beside its products, in output channels. Not measured.
READING = 32


class Classes(NamedTuple):
    """Classes of channels: kernel (c, k) has the dilation of the classes of c and of k.

    Attributes:
        outputs (list[int]): Output channels, class after class, group after group.
        inputs (list[int]): Input channels of a group, class after class; alike in all groups.
        rows (list[list[range]]): Of each group its classes of output channels, as places in
            ``outputs``.
        columns (list[range]): Classes of input channels, as places in ``inputs``.
        dilations (list[list[list[tuple[int, int]]]]): ``(d_h, d_w)`` by group, class of output
            channels, class of input channels.
    """

    outputs: List[int]
    inputs: List[int]
    rows: List[List[range]]
    columns: List[range]
    dilations: List[List[List[Tuple[int, int]]]]


class Layout(NamedTuple):
    """How a table is read.

    Attributes:
        block_out (int): Places of output channels that a block spans.
        block_in (int): Places of input channels that a block spans.
        full_out (int): Whether every class of output channels is made of full blocks.
        full_in (int): Whether every class of input channels is.
        sort_out (int): Whether output channels stand in another order in the table.
        sort_in (int): Whether input channels do.
        blocks_out (int): Blocks of output channels.
        segments_out (int): Most classes of input channels that one of them reads.
        blocks_in (int): Blocks of input channels.
        segments_in (int): Most classes of output channels that read one of them.
        pairs (int): Pairs of both.
    """

    block_out: int
    block_in: int
    full_out: int
    full_in: int
    sort_out: int
    sort_in: int
    blocks_out: int
    segments_out: int
    blocks_in: int
    segments_in: int
    pairs: int


class Side(NamedTuple):
    """The part of a table that is about output channels, or about input channels.

    Attributes:
        rows (Tensor): A row for each block.
        blocks (int): How many.
        segments (int): Most of a block.
        block (int): Places that a block spans.
        full (int): Whether every class is made of full blocks.
        channels (Tensor): The layer's channel at each place.
        sort (int): Whether this is another order than the layer's.
    """

    rows: torch.Tensor
    blocks: int
    segments: int
    block: int
    full: int
    channels: torch.Tensor
    sort: int


def classes_by_output(dilations, in_channels, groups):
    """Classes of a layer whose output channels have one dilation each.

    Args:
        dilations (Tensor): ``(d_h, d_w)`` of each output channel, (C_out, 2).
        in_channels (int): C_in.
        groups (int): Groups of the layer.

    Returns:
        Classes
    """
    rows = [((d_h, d_w),) for d_h, d_w in dilations.tolist()]
    return _classes(rows, [0] * (in_channels // groups), groups)


def classes_by_kernel(rates, groups):
    """Classes of a layer whose kernels have one dilation each.

    Args:
        rates (Tensor): Dilation of each kernel, on both axes, (C_out, C_in / groups).
        groups (int): Groups of the layer.

    Returns:
        Classes
    """
    columns, number = rates.unique(dim=1, return_inverse=True)
    # Numbered as they first appear, so that what is in order stays so.
    seen = {old: new for new, old in enumerate(dict.fromkeys(number.tolist()))}
    rows = [tuple((row[old], row[old]) for old in seen) for row in columns.tolist()]
    return _classes(rows, [seen[old] for old in number.tolist()], groups)


def _classes(rows, column_class, groups):
    """Classes from the dilations of each output channel, and the class of each input channel."""
    inputs = sorted(range(len(column_class)), key=column_class.__getitem__)
    columns = _runs([column_class[k] for k in inputs], 0)
    outputs, ranges, dilations = [], [], []
    per_group = len(rows) // groups
    for start in range(0, len(rows), per_group):
        members = range(start, start + per_group)
        seen = {row: number for number, row in enumerate(dict.fromkeys(rows[c] for c in members))}
        order = sorted(members, key=lambda c: seen[rows[c]])
        outputs += order
        ranges.append(_runs([seen[rows[c]] for c in order], start))
        dilations.append([list(row) for row in seen])
    return Classes(outputs, inputs, ranges, columns, dilations)


def _runs(numbers, start):
    """Runs of equal numbers as ranges of places, the first of which is ``start``."""
    bounds = [i for i in range(len(numbers)) if i == 0 or numbers[i] != numbers[i - 1]]
    bounds.append(len(numbers))
    return [range(start + low, start + high) for low, high in zip(bounds, bounds[1:])]


def _windows(run, block):
    """A range cut where multiples of ``block`` lie, as pairs of first place and end."""
    cuts = [run.start, *range((run.start // block + 1) * block, run.stop, block), run.stop]
    return list(zip(cuts, cuts[1:]))


def _is_full(runs, block):
    return int(all(run.start % block == 0 and run.stop % block == 0 for run in runs))


def choose_block(runs):
    """The size whose blocks cost least: each costs its size and the reading of its pixels.

    Args:
        runs (list[range]): Classes of channels.

    Returns:
        int: 16, 32 or 64. Larger blocks would leave a GPU's processors idle on small images.
    """

    def cost(size):
        return sum(len(_windows(run, size)) for run in runs) * (size + READING)

    return min((16, 32, 64), key=cost)


def build_table(classes):
    """Write classes as one list of integers.

    Its parts, each row of them a multiple of four numbers (16 bytes) long:

    - A row for each block of output channels: first place, end, group, number of segments; then
      for each segment ``d_h, d_w``, first place and end of the input channels that the block
      reads with this dilation.
    - A row for each block of input channels: the same, its segments being output channels.
    - A row for each pair of blocks: first place and end of both, group, ``d_h, d_w``, 0.
    - The output channel at each place, and the input channel at each place.

    Args:
        classes (Classes): Of a layer.

    Returns:
        tuple[list[int], Layout]
    """
    depth, groups = len(classes.inputs), len(classes.rows)
    columns = [
        [range(group * depth + run.start, group * depth + run.stop) for run in classes.columns]
        for group in range(groups)
    ]
    every_row = [run for runs in classes.rows for run in runs]
    every_column = [run for runs in columns for run in runs]
    block_out, block_in = choose_block(every_row), choose_block(every_column)
    by_output, by_input, pairs = [], [], []
    for group in range(groups):
        outs, ins, dilations = classes.rows[group], columns[group], classes.dilations[group]
        by_output += _block_rows(group, outs, ins, dilations, block_out)
        by_input += _block_rows(group, ins, outs, zip(*dilations), block_in)
        pairs += [
            [*out_window, *in_window, group, *pair, 0]
            for run, row in zip(outs, dilations)
            for other, pair in zip(ins, row)
            for out_window in _windows(run, block_out)
            for in_window in _windows(other, block_in)
        ]
    inputs = [group * depth + k for group in range(groups) for k in classes.inputs]
    layout = Layout(
        block_out,
        block_in,
        _is_full(every_row, block_out),
        _is_full(every_column, block_in),
        int(classes.outputs != sorted(classes.outputs)),
        int(inputs != sorted(inputs)),
        len(by_output),
        max(row[3] for row in by_output),
        len(by_input),
        max(row[3] for row in by_input),
        len(pairs),
    )
    # A group may have fewer classes than another; its rows are as long.
    width = 4 + 4 * layout.segments_in
    by_input = [row + [0] * (width - len(row)) for row in by_input]
    rows = itertools.chain.from_iterable(by_output + by_input + pairs)
    return [*rows, *classes.outputs, *inputs], layout


def _block_rows(group, runs, others, dilations, block):
    """A row for each block of ``runs``, with a segment for each of ``others``."""
    rows = []
    for run, pairs in zip(runs, dilations):
        segments = [(*pair, other.start, other.stop) for pair, other in zip(pairs, others)]
        numbers = [group, len(others), *itertools.chain.from_iterable(segments)]
        rows += [[*window, *numbers] for window in _windows(run, block)]
    return rows


def read_table(table, layout, out_channels):
    """Parts of a table, as views.

    Args:
        table (Tensor): int32, one dimension.
        layout (Layout): Of it.
        out_channels (int): C_out.

    Returns:
        tuple[Side, Side, Tensor]: Output channels, input channels, rows of pairs.
    """
    plan = layout
    sizes = [plan.blocks_out * (4 + 4 * plan.segments_out)]
    sizes += [plan.blocks_in * (4 + 4 * plan.segments_in), plan.pairs * 8, out_channels]
    by_output, by_input, pairs, outputs, inputs = table.split([*sizes, len(table) - sum(sizes)])
    out = (by_output, plan.blocks_out, plan.segments_out, plan.block_out, plan.full_out)
    into = (by_input, plan.blocks_in, plan.segments_in, plan.block_in, plan.full_in)
    return Side(*out, outputs, plan.sort_out), Side(*into, inputs, plan.sort_in), pairs


def register_table(layer, classes):
    """Keep a layer's table for the kernels, and its layout.

    Args:
        layer (nn.Conv2d): Gets the table ``kernels`` (int32) and ``_kernel_layout`` (list[int]).
        classes (Classes): Of the layer.
    """
    numbers, layout = build_table(classes)
    layer._kernel_layout = list(layout)
    layer.keep_table('kernels', numbers, torch.int32)
