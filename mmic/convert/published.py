"""Recognise the published forms by their keys."""

import re

from mmic.files import BadFileError

# What the form of a layer is recognised by; group 1 is the layer's name.
MARKS = {
    'ic': re.compile(r'(?:(.*)\.)?conv_list\.\d+\.(?:weight|bias)$'),
    'psconv': re.compile(r'(?:(.*)\.)?(?:gwconv_shift|gwconv)\.(?:weight|bias)$'),
    'doconv': re.compile(r'(?:(.*)\.)?(?:D|d_diag)$'),
}
KINDS = tuple(MARKS)
TITLES = {'ic': 'IC-Conv', 'psconv': 'PSConv', 'doconv': 'DO-Conv'}


def join(name, key):
    """A layer's key; the layer may be the whole model, whose name is empty."""
    return f'{name}.{key}' if name else key


def published_layers(state, kind):
    """Names of the layers that a state dict holds in a published form, in its order.

    Args:
        state (dict[str, Tensor]): A checkpoint's tensors.
        kind (str): ``'ic'``, ``'psconv'`` or ``'doconv'``.

    Raises:
        BadFileError: There is none; the message says what the file looks like instead.
    """
    names = _marked(state, kind)
    if not names:
        raise BadFileError(
            f'no layer has the form of a published {TITLES[kind]} checkpoint; {_looks_like(state)}.'
        )
    return names


def _marked(state, kind):
    matches = filter(None, map(MARKS[kind].match, state))
    return list(dict.fromkeys(match[1] or '' for match in matches))


def _looks_like(state):
    for kind, title in TITLES.items():
        names = _marked(state, kind)
        if names:
            return (
                f'it looks like one of {title} (kind {kind}): {len(names)} such layers, '
                f'{names[0]!r} the first'
            )
    for key in state:
        if key.rpartition('.')[2] in ('dilations', 'depthwise'):
            return f'it looks like a checkpoint of mmic, which needs no conversion: {key!r}'
    for key, value in state.items():
        if value.ndim == 4 and value.shape[-1] > 1:
            return f"it looks like a plain network's: {key!r} is {tuple(value.shape)}"
    return f'its first key is {next(iter(state), None)!r}'


def replace_layers(state, made, parts):
    """Put new tensors where a layer's published ones stood.

    Args:
        state (dict[str, Tensor]): The published tensors.
        made (dict[str, dict[str, Tensor]]): New tensors of each layer by their key in it.
        parts (re.Pattern): Matches the rest of a published key behind the layer's name.

    Returns:
        dict[str, Tensor]
    """
    out, left = {}, dict(made)
    for key, value in state.items():
        owner = next((name for name in _owners(key) if name in made), None)
        rest = None if owner is None else key[len(join(owner, '')) :]
        if rest is None or not parts.fullmatch(rest):
            out[key] = value
        elif owner in left:
            new = left.pop(owner)
            out.update({join(owner, name): tensor for name, tensor in new.items()})
    return out


def _owners(key):
    """Names of the modules around a key, the innermost first."""
    while '.' in key:
        key = key.rpartition('.')[0]
        yield key
    yield ''
