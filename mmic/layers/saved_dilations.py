"""Dilations are saved with the weights, which mean nothing under other dilations."""

from typing import Any, Dict, Optional, Sequence

import torch
from torch import nn

from mmic.layers.eager import is_traced
from mmic.pattern import PatternError

# Averages of equal numbers in floating point are this close to them.
CLOSE = 0.01


class ConstantBuffers(nn.Module):
    """Mixin for modules with integer buffers that are part of what they are, not of their state.

    ``to_empty`` and the meta device take a buffer's values, and averages over a state dict change
    them: ``0.9995 * 3 + 0.0005 * 3`` is 2.9999998, which an integer buffer cuts to 2. So the values
    are kept apart, put back into the buffers, and written by ``state_dict()``.
    """

    def keep_constant(self, name: str, values: torch.Tensor) -> None:
        """Register a buffer of constants, which ``state_dict()`` holds.

        Args:
            name: Of the buffer.
            values: Integers, on the CPU where they have values.
        """
        self.register_buffer(name, values.to(next(self.parameters()).device))
        # Values of a tensor on the meta device are not known; nothing is put back then.
        self._constants: Dict[str, torch.Tensor] = {}
        if not values.is_meta:
            self._constants[name] = values.clone()

    def constant(self, name: str) -> torch.Tensor:
        """The values of a buffer as they were registered, on its device."""
        buffer, kept = self._buffers[name], self._constants.get(name)
        if kept is None or buffer.is_meta:
            return buffer
        return kept.to(buffer.device, copy=True)

    def _restore(self) -> None:
        for name, kept in self._constants.items():
            # FSDP takes the parameters of a module away.
            device = next(self.parameters(), self._buffers[name]).device
            if device.type != 'meta':
                self._buffers[name] = kept.to(device, copy=True)

    def _apply(self, *args: Any, **kwargs: Any) -> nn.Module:
        result = super()._apply(*args, **kwargs)
        self._restore()
        return result

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self._constants:
            if f'{prefix}{name}' in destination:
                destination[f'{prefix}{name}'] = self.constant(name)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._restore()


class Tables:
    """Mixin for layers that read tables of integers while they compute.

    They are no buffers, so that no average over buffers changes them, and they are copied to a
    device when they are first read there.
    """

    def keep_table(self, name: str, numbers: Sequence[int], dtype: torch.dtype) -> None:
        """Keep a table, on the CPU where the default device is another, meta for example."""
        tables = self.__dict__.setdefault('_tables', {})
        self.__dict__.setdefault('_placed', {})
        tables[name] = torch.tensor(numbers, dtype=dtype, device='cpu')

    def table(self, name: str, device: Optional[torch.device] = None) -> torch.Tensor:
        """Return a table on a device. Defaults to None: the CPU."""
        table = self._tables[name]
        if device is None or device == table.device:
            return table
        placed = self._placed.get((name, device))
        if placed is None:
            placed = table.to(device)
            # Those of compilers have no values that another call could read.
            if type(placed) is torch.Tensor and not placed.is_meta and not is_traced():
                self._placed[name, device] = placed
        return placed


class SavedDilations(Tables, ConstantBuffers):
    """Mixin for layers whose buffer ``dilations`` is saved with their weights.

    A plain network's checkpoint has no dilations and is welcome; one that was trained with others
    is refused.
    """

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        metadata: dict,
        strict: bool,
        missing: list,
        unexpected: list,
        errors: list,
    ) -> None:
        # Here, since mmengine's loader only logs the errors of a load that is not strict.
        check_saved_dilations(self, state_dict.get(f'{prefix}dilations'), prefix)
        super()._load_from_state_dict(
            state_dict, prefix, metadata, strict, missing, unexpected, errors
        )
        if f'{prefix}dilations' in missing:
            missing.remove(f'{prefix}dilations')


def same_dilations(saved: torch.Tensor, built: torch.Tensor) -> bool:
    """Whether dilations of a checkpoint, which may be averages, are those of a layer."""
    if saved.shape != built.shape:
        return False
    return bool(((saved.to(built.device) - built).abs() <= CLOSE).all())


def check_saved_dilations(
    layer: ConstantBuffers, saved: Optional[torch.Tensor], prefix: str
) -> None:
    """Raise if a checkpoint was trained with other dilations than the layer was built with.

    A layer in a stage without its stride takes the weights that were trained with the stride:
    ``base_dilation`` times the checkpoint's dilations are its own then.

    Args:
        layer: Its ``dilations`` are of shape (C_out, 2), or (C_out, C_in / groups).
        saved: The checkpoint's; None if it has none.
        prefix: Of the layer's keys.

    Raises:
        PatternError: With the layer's name and the first difference.
    """
    known = 'dilations' in layer._constants
    # On the meta device there are no values to compare.
    if saved is None or saved.is_meta or not known:
        return
    built = layer._constants['dilations']
    saved = saved.cpu()
    base = getattr(layer, 'base_dilation', (1, 1))
    if same_dilations(saved, built) or (
        base != (1, 1) and same_dilations(saved * saved.new_tensor(base), built)
    ):
        return
    told = f'{len(saved)} channels in the checkpoint, {len(built)} here'
    if saved.shape == built.shape:
        first = (saved != built).any(1).nonzero()[0].item()
        told = (
            f'channel {first} has dilation {_shorten(saved[first])} in the checkpoint '
            f'and {_shorten(built[first])} in the network'
        )
    raise PatternError(
        f'Layer {prefix.rstrip(".")!r}: the checkpoint was trained with another dilation pattern '
        f'({told}). Build the network with the pattern that the checkpoint was trained with.'
    )


def _shorten(dilations: torch.Tensor) -> str:
    """Write a channel's dilations; PSConv has one for each of up to thousands of inputs."""
    numbers = dilations.tolist()
    return f'({", ".join(map(str, numbers[:8]))}{", ..." if len(numbers) > 8 else ""})'
