"""Converted layers whose output channels change places: a bottleneck absorbs the permutation."""

from mmic.convert.published import join
from mmic.files import BadFileError

# What may stand in a bottleneck: nothing else that sees the permuted channels.
BOTTLENECK = {'conv1', 'bn1', 'conv2', 'bn2', 'conv3', 'bn3', 'downsample'}
BEHIND_CONV3 = {'se', 'se_layer', 'se_module'}


def bottleneck_groups(state, name, depth, hint=''):
    """Return the groups of a bottleneck's conv2, or say why its channels cannot be permuted.

    Args:
        state (dict[str, Tensor]): The published tensors.
        name (str): The layer.
        depth (int): Input channels that its kernels read, C_in / groups.
        hint (str): What else a user can do, the end of the message. Defaults to ``''``.

    Raises:
        BadFileError: The layer is not the conv2 of a bottleneck, or reads channels that do not
            divide those of conv1; the message names it.
    """
    block, _, last = name.rpartition('.')
    prefix = join(block, '')
    children = {key[len(prefix) :].split('.')[0] for key in state if key.startswith(prefix)}
    known = children <= BOTTLENECK | BEHIND_CONV3
    convs = [state.get(join(block, f'{conv}.weight')) for conv in ('conv1', 'conv3')]
    plain = all(conv is not None and tuple(conv.shape[2:]) == (1, 1) for conv in convs)
    if not (last == 'conv2' and {'bn1', 'bn2'} <= children and known and plain):
        raise BadFileError(
            f'layer {name!r}: its channels change places, which only a bottleneck can absorb '
            f'(conv1, bn1, conv2, bn2, conv3); beside it are {sorted(children)}.{hint}'
        )
    channels = len(convs[0])
    if channels % depth:
        raise BadFileError(
            f'layer {name!r}: its kernels read {depth} channels, which do not divide the '
            f'{channels} of conv1.'
        )
    return channels // depth


def permuted_outputs(state, name, outputs):
    """The tensors behind a bottleneck's conv2, in another order of its output channels.

    Args:
        state (dict[str, Tensor]): The published tensors.
        name (str): The layer.
        outputs (Tensor): For each new channel the published one that takes its place, (C_out,).

    Returns:
        dict[str, Tensor]: bn2's, and conv3's weight, by key.

    Raises:
        BadFileError: A tensor has another number of channels; the message names it.
    """
    block = name.rpartition('.')[0]
    changed = permuted_norm(state, join(block, 'bn2'), outputs)
    key = join(block, 'conv3.weight')
    return {**changed, key: ordered(state[key], outputs, 1, key)}


def permuted_norm(state, name, order):
    """The tensors of a norm, or a convolution's along its output channels, in another order."""
    keys = [key for key in state if key.startswith(f'{name}.') and state[key].ndim]
    return {key: ordered(state[key], order, 0, key) for key in keys}


def ordered(tensor, order, axis, key):
    """Take a tensor's channels in another order; raise BadFileError where they are others."""
    if tensor.ndim <= axis or tensor.shape[axis] != len(order):
        raise BadFileError(
            f'{key!r}: shape {tuple(tensor.shape)} where axis {axis} should have the '
            f'{len(order)} channels of the searched layer beside it.'
        )
    return tensor.index_select(axis, order)
