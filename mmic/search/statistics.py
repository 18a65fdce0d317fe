"""Means of the inputs of a network's layers, measured while it runs."""

import torch


class InputMeans:
    """Context manager that measures the mean of each input channel of some layers.

    Means are over all positions of all inputs, in float64. A layer that runs several times for
    an image, on the levels of a pyramid for example, has the mean over all of its inputs.

    Args:
        layers (dict[str, nn.Module]): Convolutions by name.
    """

    def __init__(self, layers):
        self.layers = layers
        self._sums, self._positions, self._hooks = {}, {}, []

    def __enter__(self):
        self._hooks = [
            layer.register_forward_pre_hook(self._count(name))
            for name, layer in self.layers.items()
        ]
        return self

    def __exit__(self, *error):
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _count(self, name):
        def count(_, inputs):
            x = inputs[0].detach()  # (N, C_in, H, W)
            total = x.sum((0, 2, 3), dtype=torch.float64)
            self._sums[name] = self._sums.get(name, 0) + total
            self._positions[name] = self._positions.get(name, 0) + x.numel() // x.shape[1]

        return count

    def means(self):
        """Return the means by layer, float64 of shape (C_in,) on the CPU.

        Raises:
            ValueError: A layer has had no input; the message names it.
        """
        missing = [name for name in self.layers if not self._positions.get(name)]
        if missing:
            raise ValueError(
                f'Layer {missing[0]!r} was not run on the images: its input has no mean. Search '
                'the other layers alone with a scope, or without statistics.'
            )
        return {name: (self._sums[name] / self._positions[name]).cpu() for name in self.layers}
