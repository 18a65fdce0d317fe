"""Dilations are saved with the weights, which mean nothing under other dilations.

Both functions are called from a layer's ``_load_from_state_dict``, before and after torch's.
"""

import torch

from mmic.pattern import PatternError


def check_saved_dilations(layer, state_dict, prefix):
    """Raise if a checkpoint was trained with other dilations than the layer was built with.

    A layer in a stage without its stride takes the weights that were trained with the stride:
    ``base_dilation`` times the checkpoint's dilations are its own then, and are put in their place.
    Raised here, since mmengine's loader only logs the errors of a non-strict load.

    Raises:
        PatternError: With the layer's name and the first difference.
    """
    saved, built = state_dict.get(f'{prefix}dilations'), layer.dilations
    # On the meta device there are no values to compare.
    if saved is None or built.is_meta or saved.is_meta:
        return
    saved = saved.to(built.device)
    if saved.shape == built.shape and torch.equal(saved, built):
        return
    base = getattr(layer, 'base_dilation', (1, 1))
    if base != (1, 1) and torch.equal(saved * saved.new_tensor(base), built):
        state_dict[f'{prefix}dilations'] = built
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


def forgive_missing_dilations(prefix, missing):
    """A plain network's checkpoint has no dilations and is welcome."""
    if f'{prefix}dilations' in missing:
        missing.remove(f'{prefix}dilations')


def _shorten(dilations):
    """Write a channel's dilations; PSConv has one for each of up to thousands of inputs."""
    numbers = dilations.tolist()
    return f'({", ".join(map(str, numbers[:8]))}{", ..." if len(numbers) > 8 else ""})'
