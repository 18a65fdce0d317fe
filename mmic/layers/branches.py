"""How a convolution with several dilations is computed: as convolutions of one dilation each.

Kernel (c, k), of output channel c and input channel k, has one dilation. Kernels of one
dilation that form full blocks of output by input channels are one (grouped) convolution; the
blocks of a layer cover every kernel once, so nothing is padded with zeros and the
multiply-adds are the plain convolution's. Blocks of other output channels are concatenated,
blocks of other input channels are added.
"""

from typing import List, NamedTuple, Optional, Tuple

import torch
from torch.nn import functional as F

from mmic.compat import is_compiling
from mmic.layers.base_conv import base_padding, dilated_padding
from mmic.layers.direct import Direct, Kernels
from mmic.layers.eager import is_proxy
from mmic.layers.selection import (
    Selection,
    index_channels,
    inverse_order,
    plan_selection,
    select_channels,
)


class Block(NamedTuple):
    """A grouped convolution of one dilation.

    Attributes:
        dilation (tuple[int, int]): (d_h, d_w).
        rows (list[int]): Output channels, group after group.
        inputs (list[int]): Input channels, group after group.
        groups (int): Number of groups.
    """

    dilation: Tuple[int, int]
    rows: List[int]
    inputs: List[int]
    groups: int


def plan_by_output(dilations, in_channels, groups):
    """Plan a layer whose output channels have one dilation each: one term.

    A dilation may have more filters in one group than in another. Groups with equally many
    form one grouped convolution.

    Args:
        dilations (Tensor): ``(d_h, d_w)`` of each output channel, (C_out, 2).
        in_channels (int): C_in.
        groups (int): Groups of the layer.

    Returns:
        list[list[Block]]: Terms to add, of blocks to concatenate.
    """
    per_group, depth = len(dilations) // groups, in_channels // groups
    filters = {}  # dilation -> group -> its output channels
    for channel, pair in enumerate(map(tuple, dilations.tolist())):
        filters.setdefault(pair, {}).setdefault(channel // per_group, []).append(channel)
    blocks = []
    for pair, by_group in filters.items():
        # In order of the first group, so that a sorted layer stays in order.
        for count in dict.fromkeys(len(channels) for channels in by_group.values()):
            chosen = [group for group in by_group if len(by_group[group]) == count]
            rows = [channel for group in chosen for channel in by_group[group]]
            inputs = [group * depth + k for group in chosen for k in range(depth)]
            blocks.append(Block(pair, rows, inputs, len(chosen)))
    return [blocks]


def plan_by_kernel(rates, groups):
    """Plan a layer whose kernels have one dilation each: one term a dilation.

    Output channels that read a dilation from the same input channels form a block; blocks of
    equal size form one grouped convolution. Dilations that share no output channel share a term.
    Each output channel must have all of the dilations, or each must have one.

    Args:
        rates (Tensor): Dilation of each kernel, on both axes, (C_out, C_in / groups).
        groups (int): Groups of the layer.

    Returns:
        list[list[Block]]: Terms to add, of blocks to concatenate.
    """
    per_group, depth = len(rates) // groups, rates.shape[1]
    table = rates.tolist()
    terms = []
    for rate in sorted({rate for row in table for rate in row}):
        readers = {}  # input channels -> the output channels that read this dilation from them
        for channel, row in enumerate(table):
            first = channel // per_group * depth
            inputs = tuple(first + k for k, value in enumerate(row) if value == rate)
            if inputs:
                readers.setdefault(inputs, []).append(channel)
        sizes = {}
        for inputs, rows in readers.items():
            sizes.setdefault((len(rows), len(inputs)), []).append((rows, inputs))
        terms.append([_merge((rate, rate), same) for same in sizes.values()])
    if all(len(set(row)) == 1 for row in table):
        return [[block for term in terms for block in term]]
    return terms


def _merge(dilation, parts):
    """One grouped convolution of ``(rows, inputs)`` of equal sizes."""
    rows = [row for part, _ in parts for row in part]
    inputs = [channel for _, part in parts for channel in part]
    return Block(dilation, rows, inputs, len(parts))


def order_alike(terms, out_channels):
    """Order the groups of all terms by one order of output channels, so that terms just add.

    Returns:
        tuple[list[int], list[list[Block]]]: The order, and the terms in it as far as it goes.
    """
    if len(terms) == 1:
        return [row for block in terms[0] for row in block.rows], terms
    # Channels that share a group in the term of fewest groups stand together, among them those
    # that share one in the next term, and so on.
    numbers = []
    for term in sorted(terms, key=lambda blocks: sum(block.groups for block in blocks)):
        number, group = {}, 0
        for block in term:
            size = len(block.rows) // block.groups
            for place, row in enumerate(block.rows):
                number[row] = group + place // size
            group += block.groups
        numbers.append(number)
    order = sorted(range(out_channels), key=lambda row: (*(number[row] for number in numbers), row))
    rank = {row: place for place, row in enumerate(order)}
    ordered = []
    for term in terms:
        blocks = []
        for block in term:
            rows, inputs = _split(block.rows, block.groups), _split(block.inputs, block.groups)
            parts = [(sorted(r, key=rank.get), i) for r, i in zip(rows, inputs)]
            blocks.append(_merge(block.dilation, sorted(parts, key=lambda part: rank[part[0][0]])))
        ordered.append(sorted(blocks, key=lambda block: rank[block.rows[0]]))
    return order, ordered


def _split(items, count):
    size = len(items) // count
    return [items[start : start + size] for start in range(0, len(items), size)]


class Gather(NamedTuple):
    """Channels to gather.

    Attributes:
        index (slice): Of the layer's index list.
        selection (Selection | None): A faster way to gather them; None where there is none.
    """

    index: slice
    selection: Optional[Selection]


class Piece(NamedTuple):
    """A block as it is run: slices into the layer's arranged weight and index list.

    Attributes:
        dilation (tuple[int, int]): (d_h, d_w).
        padding (tuple[int, int]): That keeps the undilated convolution's output size.
        groups (int): Number of groups.
        rows (slice): Of the term's output channels.
        weight (slice): Rows of the arranged weight; kernels of it if they are gathered.
        inputs (slice | None): Consecutive input channels; None where they are gathered.
        gather (Gather | None): The input channels; None where consecutive.
    """

    dilation: Tuple[int, int]
    padding: Tuple[int, int]
    groups: int
    rows: slice
    weight: slice
    inputs: Optional[slice]
    gather: Optional[Gather]


class Term(NamedTuple):
    """Pieces to concatenate, and the reordering of their channels if they need one."""

    pieces: List[Piece]
    reorder: Optional[Gather]


class Plan(NamedTuple):
    """How a layer is run; slices select from its table ``index``.

    Attributes:
        terms (list[Term]): To add.
        rows (slice | None): Order of the weight's output channels; None: as they are.
        kernels (slice | None): Order of its kernels; None: whole output channels are used.
        unsort (Gather | None): Puts output channels back in place; None: they are.
    """

    terms: List[Term]
    rows: Optional[slice]
    kernels: Optional[slice]
    unsort: Optional[Gather]


def register_plan(layer, terms):
    """Keep a plan on a layer, and its index list as the table ``index``.

    Args:
        layer (nn.Conv2d): Its ``padding`` is the undilated convolution's.
        terms (list[list[Block]]): From ``plan_by_output`` or ``plan_by_kernel``.
    """
    index = []

    def keep(items):
        index.extend(items)
        return slice(len(index) - len(items), len(index))

    def keep_unless_in_order(items):
        return None if items == list(range(len(items))) else keep(items)

    def gather(items, count):
        return Gather(keep(items), plan_selection(items, count))

    def gather_unless_in_order(items):
        return None if items == list(range(len(items))) else gather(items, len(items))

    depth = layer.in_channels // layer.groups
    order, terms = order_alike(terms, layer.out_channels)
    padding = base_padding(layer.kernel_size, layer.padding)
    whole = all(len(b.inputs) == depth * b.groups for term in terms for b in term)
    kernels, planned = [], []
    for term in terms:
        pieces, rows = [], []
        for block in term:
            taken = slice(len(rows), len(rows) + len(block.rows))
            rows += block.rows
            count = len(block.inputs) // block.groups
            weight = taken if whole else slice(len(kernels), len(kernels) + len(block.rows) * count)
            parts = zip(_split(block.rows, block.groups), _split(block.inputs, block.groups))
            kernels += [row * depth + k % depth for part, ks in parts for row in part for k in ks]
            first, last = block.inputs[0], block.inputs[-1]
            consecutive = block.inputs == list(range(first, last + 1))
            pieces.append(
                Piece(
                    block.dilation,
                    dilated_padding(layer.kernel_size, padding, block.dilation),
                    block.groups,
                    taken,
                    weight,
                    slice(first, last + 1) if consecutive else None,
                    None if consecutive else gather(block.inputs, layer.in_channels),
                )
            )
        place = {row: number for number, row in enumerate(rows)}
        planned.append(Term(pieces, gather_unless_in_order([place[row] for row in order])))
    inverse = inverse_order(order)
    layer._plan = Plan(
        planned,
        keep_unless_in_order(order),
        None if whole else keep(kernels),
        gather_unless_in_order(inverse),
    )
    layer.keep_table('index', index, torch.long)
    layer._direct = _direct_of(layer, terms)


def _direct_of(layer, terms):
    """The layer's form for CPUs; None where it has none."""
    if layer.groups > 1 or layer.kernel_size != (3, 3):
        return None
    padding = base_padding(layer.kernel_size, layer.padding)
    return Direct(
        [
            Kernels(rows, inputs, block.dilation, dilated_padding((3, 3), padding, block.dilation))
            for term in terms
            for block in term
            for rows, inputs in zip(
                _split(block.rows, block.groups), _split(block.inputs, block.groups)
            )
        ],
        layer.stride,
    )


def gather_channels(x, gather, index, shuffled=None):
    """Gather channels.

    Args:
        x (Tensor): Shape (N, channels, H, W).
        gather (Gather): Which.
        index (Tensor): The layer's index list.
        shuffled (dict, optional): See ``select_channels``. Defaults to None.

    Returns:
        Tensor: channels_last if ``x`` is.
    """
    if gather.selection is not None:
        return select_channels(x, gather.selection, shuffled)
    return index_channels(x, index[gather.index])


def direct_applies(layer, x, weight, bias):
    """Whether compiled code computes a layer, and not ``planned_conv2d``."""
    parameters = (weight,) if bias is None else (weight, bias)
    return layer._direct is not None and layer._direct.applies(x, *parameters)


def planned_conv2d(layer, x, weight, bias):
    """Run a layer's plan.

    Args:
        layer (nn.Conv2d): After ``register_plan``.
        x (Tensor): Shape (N, C_in, H, W).
        weight (Tensor): Of the layer's weight's shape.
        bias (Tensor | None): Shape (C_out,).

    Returns:
        Tensor: Shape (N, C_out, H', W').
    """
    plan, index = layer._plan, layer.table('index', None if is_proxy(x) else x.device)
    # Inductor cannot lower a convolution whose bias is a part of a computed tensor.
    late_bias = bias if is_proxy(x) or is_compiling() else None
    bias = bias if late_bias is None else None
    if plan.kernels is not None:
        weight = weight.flatten(0, 1).index_select(0, index[plan.kernels])  # (kernels, k, k)
    elif plan.rows is not None:
        weight = weight.index_select(0, index[plan.rows])
    if bias is not None and plan.rows is not None:
        bias = bias.index_select(0, index[plan.rows])
    # Split once: the gradient of each slice alone would be as large as the weight.
    sizes = [piece.weight.stop - piece.weight.start for term in plan.terms for piece in term.pieces]
    kernels, number = weight.split(sizes), 0
    total, shuffled = None, {}
    for term in plan.terms:
        outputs = []
        for piece in term.pieces:
            kernel, number = kernels[number], number + 1
            if plan.kernels is not None:
                rows = piece.rows.stop - piece.rows.start
                kernel = kernel.unflatten(0, (rows, -1))  # (rows, C_in / groups, k, k)
            if piece.gather is not None:
                part = gather_channels(x, piece.gather, index, shuffled)
            elif piece.inputs.stop - piece.inputs.start < layer.in_channels:
                part = x[:, piece.inputs]
            else:
                part = x
            # Terms of one piece a channel add up; the bias goes into the first.
            first = bias is not None and total is None and term.reorder is None
            outputs.append(
                F.conv2d(
                    part,
                    kernel,
                    bias[piece.rows] if first else None,
                    layer.stride,
                    piece.padding,
                    piece.dilation,
                    piece.groups,
                )
            )
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        if term.reorder is not None:
            output = gather_channels(output, term.reorder, index)
            if bias is not None and total is None:
                output = output + bias[:, None, None]
        total = output if total is None else total.add_(output)
    output = total if plan.unsort is None else gather_channels(total, plan.unsort, index)
    return output if late_bias is None else output + late_bias[:, None, None]
