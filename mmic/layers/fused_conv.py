"""A planned convolution for inference: its weights gathered and laid out once.

``branches.planned_conv2d`` selects weights, inputs and outputs on every call. Here the weights
stand as plain convolutions, and the selection of channels is dropped where the neighbouring
layers keep their channels in this layer's order.
"""

from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import nn

from mmic.compat import is_compiling
from mmic.layers.base_conv import base_padding, dilated_padding
from mmic.layers.direct.fused import prepare_direct
from mmic.layers.eager import is_proxy
from mmic.layers.ic_conv import ICConv2d
from mmic.layers.masked_ps_conv import MaskedPSConv2d
from mmic.layers.ps_conv import PSConv2d
from mmic.layers.selection import (
    Selection,
    index_channels,
    inverse_order,
    plan_selection,
    select_channels,
)

DILATED = (ICConv2d, PSConv2d, MaskedPSConv2d)


class Part(NamedTuple):
    """A convolution of one dilation.

    Attributes:
        weight (Tensor): (rows, channels of a group, k, k).
        inputs (list[int]): Input channels of the layer that it reads, group after group.
        dilation (tuple[int, int]): (d_h, d_w).
        padding (tuple[int, int]): That keeps the undilated convolution's output size.
        groups (int): Number of groups.
    """

    weight: torch.Tensor
    inputs: List[int]
    dilation: Tuple[int, int]
    padding: Tuple[int, int]
    groups: int


class Parts(NamedTuple):
    """A layer taken apart.

    Attributes:
        terms (list[tuple[list[Part], list[int] | None]]): To add: parts to concatenate, and the
            reordering of their channels if they need one.
        order (list[int]): The layer's output channel that each channel of the sum is.
    """

    terms: List[Tuple[List[Part], Optional[List[int]]]]
    order: List[int]

    def inputs(self):
        """The input channels that each part reads."""
        return [part.inputs for parts, _ in self.terms for part in parts]


@torch.no_grad()
def take_apart(layer):
    """Take a layer of several dilations apart, with its weights as they are now.

    Args:
        layer (ICConv2d | PSConv2d | MaskedPSConv2d): The layer, which is left as it is.

    Returns:
        Parts
    """
    if isinstance(layer, MaskedPSConv2d):
        mask = layer.mask()
        return _dense_parts(layer, zip(layer.rates, (mask == 0, mask == 1)))
    if isinstance(layer, PSConv2d) and layer.form == 'sum':
        return _dense_parts(layer, [(r, layer.dilations == r) for r in sorted(set(layer.pattern))])
    plan, index = layer._plan, layer.table('index').tolist()
    order = list(range(layer.out_channels)) if plan.rows is None else index[plan.rows]
    weight = layer.weight
    if plan.kernels is not None:
        weight = weight.flatten(0, 1)[index[plan.kernels]]
    elif plan.rows is not None:
        weight = weight[order]
    terms = []
    for term in plan.terms:
        parts = []
        for piece in term.pieces:
            kernel = weight[piece.weight]
            if plan.kernels is not None:
                kernel = kernel.unflatten(0, (piece.rows.stop - piece.rows.start, -1))
            if piece.gather is None:
                inputs = list(range(piece.inputs.start, piece.inputs.stop))
            else:
                inputs = index[piece.gather.index]
            parts.append(Part(kernel.clone(), inputs, piece.dilation, piece.padding, piece.groups))
        terms.append((parts, None if term.reorder is None else index[term.reorder.index]))
    return Parts(terms, order)


def _dense_parts(layer, masks):
    """One convolution over all channels for each ``(rate, mask)``, other kernels zeroed."""
    padding = base_padding(layer.kernel_size, layer.padding)
    inputs = list(range(layer.in_channels))
    terms = []
    for rate, mask in masks:
        weight = layer.weight * mask[:, :, None, None]
        padded = dilated_padding(layer.kernel_size, padding, (rate, rate))
        terms.append(([Part(weight, inputs, (rate, rate), padded, layer.groups)], None))
    return Parts(terms, list(range(layer.out_channels)))


def wanted_inputs(parts):
    """Orders of the input channels in which parts read consecutive ones.

    Returns:
        list[list[int]]: At most two; empty where no order serves every part.
    """
    first = [channel for part in parts.terms[0][0] for channel in part.inputs]
    every = [channel for inputs in parts.inputs() for channel in inputs]
    count = max(every) + 1
    return [order for order in (first, every) if sorted(order) == list(range(count))]


def count_gathers(parts, order):
    """How many parts need their input channels gathered if these stand in ``order``."""
    place = _places(order)
    return sum(
        not _is_consecutive(_sorted_groups(part.inputs, part.groups, place)[0])
        for terms, _ in parts.terms
        for part in terms
    )


def _places(order):
    return {channel: place for place, channel in enumerate(order)}


def _is_consecutive(items):
    return items == list(range(items[0], items[0] + len(items)))


def _sorted_groups(inputs, groups, place):
    """Places of a part's inputs, ascending in each group, and how that sorts each group."""
    size = len(inputs) // groups
    places, sorts = [], []
    for start in range(0, len(inputs), size):
        group = [place[channel] for channel in inputs[start : start + size]]
        sorts.append(sorted(range(size), key=group.__getitem__))
        places += [group[k] for k in sorts[-1]]
    return places, sorts


class FusedConv2d(nn.Module):
    """A convolution of several dilations, for inference. ``fused_conv`` builds it.

    Args:
        terms (list[tuple[list[tuple[nn.Conv2d, list[int]]], list[int] | None]]): To add:
            convolutions to concatenate, each with the input channels that it reads, and the
            reordering of their channels if they need one.
        unsort (list[int]): Selects the channels of the sum.
        layer (nn.Conv2d): The layer that it stands for.

    Attributes:
        convs (nn.ModuleList): Of one dilation each.
        in_channels, out_channels, kernel_size, stride: As of ``layer``.
    """

    def __init__(self, terms, unsort, layer):
        super().__init__()
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.kernel_size, self.stride = layer.kernel_size, layer.stride
        self.convs = nn.ModuleList(conv for parts, _ in terms for conv, _ in parts)
        inputs = [channels for parts, _ in terms for _, channels in parts]
        self._inputs = [
            self._keep(f'inputs{number}', channels, self.in_channels)
            for number, channels in enumerate(inputs)
        ]
        # Of each term the number of convolutions, and the reordering.
        self._terms = [
            (len(parts), self._keep(f'order{number}', order, self.out_channels))
            for number, (parts, order) in enumerate(terms)
        ]
        self._unsort = self._keep('unsort', unsort, self.out_channels)
        self._direct = prepare_direct(terms, unsort, layer)
        self._shapes = [tuple(conv.weight.shape) for conv in self.convs]

    def _keep(self, name, channels, count):
        """How to select channels: None for all, a Selection, or the name of a buffer."""
        if channels is None or channels == list(range(count)):
            return None
        selection = plan_selection(channels, count)
        if selection is not None:
            return selection
        index = torch.tensor(channels, device=self.convs[0].weight.device)
        self.register_buffer(name, index, persistent=False)
        return name

    def _select(self, x, how, shuffled=None):
        if how is None:
            return x
        if isinstance(how, Selection):
            return select_channels(x, how, shuffled)
        return index_channels(x, getattr(self, how))

    def forward(self, x):
        # Tracers of programs read the convolutions on their own.
        if not torch.jit.is_tracing() and not is_proxy(x) and not is_compiling():
            self._check()
            if x.dim() == 3:
                return self._compute(x.unsqueeze(0)).squeeze(0)
        return self._compute(x)

    def _check(self):
        for conv, shape in zip(self.convs, self._shapes):
            weight = getattr(conv, 'weight', None)
            # Quantised modules have a method of this name.
            if isinstance(weight, torch.Tensor) and tuple(weight.shape) != shape:
                raise ValueError(
                    f'FusedConv2d: a weight has shape {tuple(weight.shape)}, and the layer was '
                    f'fused with {shape}. Prune or convert the network before it is fused.'
                )

    def _compute(self, x):
        if self._direct is not None and not is_proxy(x) and not torch.is_grad_enabled():
            output = self._direct(x, self.convs)
            if output is not None:
                return output
        shuffled = {}
        outputs = [
            conv(self._select(x, how, shuffled)) for conv, how in zip(self.convs, self._inputs)
        ]
        total, start = None, 0
        for count, order in self._terms:
            parts = outputs[start : start + count]
            start += count
            output = self._select(parts[0] if count == 1 else torch.cat(parts, 1), order)
            total = output if total is None else total + output
        return self._select(total, self._unsort)

    def is_one_conv(self):
        """Whether its first convolution is all there is to it."""
        selections = [*self._inputs, *(order for _, order in self._terms), self._unsort]
        return len(self.convs) == 1 and all(how is None for how in selections)


@torch.no_grad()
def fused_conv(layer, in_order=None, out_order=None):
    """Build the inference form of a layer of several dilations.

    Args:
        layer (ICConv2d | PSConv2d | MaskedPSConv2d): The layer, which is left as it is.
        in_order (list[int], optional): The layer's input channel that each channel of the
            input is. Defaults to None: as they are.
        out_order (list[int], optional): The layer's output channel that each channel of the
            output shall be. Defaults to None: as they are.

    Returns:
        nn.Module: ``FusedConv2d``, or ``nn.Conv2d`` where one convolution is all there is.
    """
    parts = take_apart(layer)
    place = _places(list(range(layer.in_channels)) if in_order is None else in_order)
    bias = None if layer.bias is None else layer.bias[parts.order]
    terms = []
    for pieces, order in parts.terms:
        # The first term adds the bias, before its channels are reordered.
        if bias is not None and order is not None:
            bias = bias[inverse_order(order)]
        convs, start = [], 0
        for part in pieces:
            stop = start + len(part.weight)
            convs.append(
                _plain_conv(layer, part, place, None if bias is None else bias[start:stop])
            )
            start = stop
        bias = None
        terms.append((convs, order))
    wanted = range(layer.out_channels) if out_order is None else out_order
    inverse = inverse_order(parts.order)
    fused = FusedConv2d(terms, [inverse[channel] for channel in wanted], layer)
    return (fused.convs[0] if fused.is_one_conv() else fused).train(layer.training)


def _plain_conv(layer, part, place, bias):
    """The convolution of one part, and the places of the channels that it reads."""
    places, sorts = _sorted_groups(part.inputs, part.groups, place)
    conv = nn.Conv2d(
        len(part.inputs),
        len(part.weight),
        layer.kernel_size,
        layer.stride,
        part.padding,
        part.dilation,
        part.groups,
        bias is not None,
        device=part.weight.device,
        dtype=part.weight.dtype,
    )
    # Each group's kernels in the order of its inputs.
    groups = zip(part.weight.chunk(part.groups), sorts)
    conv.weight.copy_(torch.cat([weight[:, order] for weight, order in groups]))
    if bias is not None:
        conv.bias.copy_(bias)
    return conv, places
