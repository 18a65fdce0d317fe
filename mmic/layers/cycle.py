"""PSConv where the cycle divides the channels: whole classes of channels move, not single ones.

The dilation of kernel (c, k) depends on c and k modulo t alone. Channels are sorted by that
remainder in one transposition; then everything that the blocks of ``branches`` read or write is
made of t classes of consecutive channels.
"""

import torch
from torch.nn import functional as F

from mmic.compat import channel_shuffle, is_compiling
from mmic.layers.base_conv import base_padding, dilated_padding
from mmic.layers.branches import order_alike, plan_by_kernel
from mmic.layers.recompute import recomputed


class CyclicPlan:
    """How a layer is computed whose dilations are a t x t table, repeated over its channels.

    Args:
        table (Tensor): Dilation of output class by input class, (t, t).
        layer (nn.Conv2d): Without groups, t divides its input and its output channels.
    """

    def __init__(self, table, layer):
        self.period = len(table)
        order, self.terms = order_alike(plan_by_kernel(table, 1), self.period)
        # Where each class of a term's output, and of the sum, is found.
        self.arranged = [
            _places([row for block in term for row in block.rows], order) for term in self.terms
        ]
        self.restored = _places(order, list(range(self.period)))
        padding = base_padding(layer.kernel_size, layer.padding)
        self.paddings = {
            block.dilation: dilated_padding(layer.kernel_size, padding, block.dilation)
            for term in self.terms
            for block in term
        }

    def conv2d(self, layer, x, weight, bias):
        """Compute the layer.

        Args:
            layer (nn.Conv2d): The plan's, or one of its stride and number of channels.
            x (Tensor): Shape (N, C_in, H, W).
            weight (Tensor): Of the layer's weight's shape.
            bias (Tensor | None): Shape (C_out,).

        Returns:
            Tensor: Shape (N, C_out, H', W').
        """
        inputs, kernels = self._classes(x), self._tables(weight)
        # Inductor cannot lower a convolution whose bias is a part of a computed tensor.
        late_bias = bias if is_compiling() else None
        bias = bias if late_bias is None else None
        if bias is not None:
            bias = bias.unflatten(0, (-1, self.period)).t()  # (t, C_out / t)
        total = None
        for term, places in zip(self.terms, self.arranged):
            outputs = []
            for block in term:
                part, kernel = _part(inputs, block), _kernel(kernels, block)
                # Terms add up: the first has the bias.
                added = None if bias is None or total is not None else bias[block.rows].flatten()
                padding, rate = self.paddings[block.dilation], block.dilation
                with recomputed(
                    (part, lambda x, block=block: _part(self._classes(x), block), x),
                    (kernel, lambda w, block=block: _kernel(self._tables(w), block), weight),
                ):
                    outputs.append(
                        F.conv2d(part, kernel, added, layer.stride, padding, rate, block.groups)
                    )
            output = self._arrange(_join(outputs), places)
            total = output if total is None else total.add_(output)
        output = channel_shuffle(self._arrange(total, self.restored), self.period)
        return output if late_bias is None else output + late_bias[:, None, None]

    def _classes(self, x):
        """Input channels by their remainder."""
        return channel_shuffle(x, x.shape[1] // self.period).chunk(self.period, 1)

    def _tables(self, weight):
        """Kernels by the remainders of output and input channel, as views."""
        # (C_out, C_in, k, k) -> (C_out / t, t, C_in / t, t, k, k), taken apart along both t.
        table = weight.unflatten(1, (-1, self.period)).unflatten(0, (-1, self.period))
        return [row.unbind(2) for row in table.unbind(1)]

    def _arrange(self, y, places):
        """Put classes of channels in another order."""
        if places is None:
            return y
        parts = y.chunk(self.period, 1)
        return _join([parts[place] for place in places])


def _part(inputs, block):
    """The input channels of a block, class after class."""
    return _join([inputs[number] for number in block.inputs])


def _kernel(kernels, block):
    """The weight of a block: classes of its groups' outputs by those of their inputs."""
    heights, widths = len(block.rows) // block.groups, len(block.inputs) // block.groups
    strips = []
    for place, row in enumerate(block.rows):
        first = place // heights * widths
        columns = block.inputs[first : first + widths]
        strips.append(_join([kernels[row][column] for column in columns]))
    return torch.cat(strips)


def _places(classes, wanted):
    """Where the wanted classes stand; None where they are in order."""
    return None if classes == wanted else [classes.index(number) for number in wanted]


def _join(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
