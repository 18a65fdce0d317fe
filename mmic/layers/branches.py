"""How a layer whose dilation depends on the output channel is computed.

One convolution per dilation on the weights of its channels, outputs concatenated. No
convolution is padded with zero filters, so the multiply-adds are the plain convolution's.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from torch.nn import functional as F

from mmic.layers.base_conv import base_padding, dilated_padding


class Branch(NamedTuple):
    """One convolution of the layer: the channels of one dilation in like-filled groups."""

    dilation: Tuple[int, int]
    rows: slice  # of the weight, in branch order
    inputs: Optional[slice]  # of the list of gathered input channels; None: all, in order
    groups: int


def plan_branches(dilations, in_channels, groups):
    """Split a layer into convolutions of one dilation each.

    A dilation may have more filters in one group than in another. Groups with equally many
    form one grouped convolution, so that nothing is padded and no work is added.

    Args:
        dilations (Tensor): Shape (C_out, 2).
        in_channels (int): C_in.
        groups (int): Groups of the layer.

    Returns:
        tuple[list[Branch], list[int], list[int]]: The branches; the output channels in branch
        order; the input channels that the branches read, one list after the other.
    """
    per_group = len(dilations) // groups
    group_inputs = in_channels // groups
    filters = {}  # dilation -> group -> its output channels
    for channel, pair in enumerate(map(tuple, dilations.tolist())):
        filters.setdefault(pair, {}).setdefault(channel // per_group, []).append(channel)
    branches, rows, inputs = [], [], []
    for pair, by_group in filters.items():
        # In order of the first group, so that a sorted layer stays in order.
        for count in dict.fromkeys(len(channels) for channels in by_group.values()):
            chosen = [group for group in by_group if len(by_group[group]) == count]
            start = len(rows)
            rows += [channel for group in chosen for channel in by_group[group]]
            read = None
            if len(chosen) < groups:
                read = slice(len(inputs), len(inputs) + len(chosen) * group_inputs)
                for group in chosen:
                    inputs += range(group * group_inputs, (group + 1) * group_inputs)
            branches.append(Branch(pair, slice(start, len(rows)), read, len(chosen)))
    return branches, rows, inputs


def _as_slice(indices):
    """The slice that selects these indices, or None if they are not consecutive."""
    consecutive = list(indices) == list(range(indices[0], indices[0] + len(indices)))
    return slice(indices[0], indices[-1] + 1) if consecutive else None


def register_branches(layer, dilations):
    """Plan a layer's branches and keep the index lists on it, as buffers that are not saved.

    Args:
        layer (nn.Conv2d): Its ``padding`` is the undilated convolution's.
        dilations (Tensor): ``(d_h, d_w)`` of each output channel, (C_out, 2).
    """
    branches, rows, inputs = plan_branches(dilations, layer.in_channels, layer.groups)
    padding = base_padding(layer.kernel_size, layer.padding)
    layer._branches = [
        # Consecutive channels are sliced, others gathered: a slice copies nothing.
        (
            branch,
            dilated_padding(layer.kernel_size, padding, branch.dilation),
            branch.inputs and _as_slice(inputs[branch.inputs]),
        )
        for branch in branches
    ]
    layer._in_order = rows == sorted(rows)
    rows = torch.tensor(rows, device=layer.weight.device)
    inputs = torch.tensor(inputs, dtype=torch.long, device=layer.weight.device)
    layer.register_buffer('_rows', rows, persistent=False)
    layer.register_buffer('_unsort', rows.argsort(), persistent=False)
    layer.register_buffer('_inputs', inputs, persistent=False)


def branch_conv2d(layer, x):
    """Run a layer's branches: (N, C_in, H, W) to (N, C_out, H', W')."""
    weight, bias = layer.weight, layer.bias
    if not layer._in_order:
        weight = weight.index_select(0, layer._rows)
        bias = None if bias is None else bias.index_select(0, layer._rows)
    outputs = []
    for branch, padding, window in layer._branches:
        part = x
        if window is not None:
            part = x[:, window]
        elif branch.inputs is not None:
            part = x.index_select(1, layer._inputs[branch.inputs])
        outputs.append(
            F.conv2d(
                part,
                weight[branch.rows],
                None if bias is None else bias[branch.rows],
                layer.stride,
                padding,
                branch.dilation,
                branch.groups,
            )
        )
    # (N, C_out, H', W') in branch order
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
    return output if layer._in_order else output.index_select(1, layer._unsort)
