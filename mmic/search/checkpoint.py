"""Between checkpoints and EDO: supernet weights in, searched network's weights out."""

from mmic.supernet.wide_conv import sample_taps
from mmic.wrappers import named_parts


def supernet_convs(model, kind, scope=''):
    """The supernet layers of a model by full name, those below ``scope`` only.

    A layer in several places, as in RTMDet's heads, stands under each of its names.

    Args:
        model (nn.Module): The supernet.
        kind (type): Class of the layers, ``WideConv2d`` for example.
        scope (str): Defaults to ``''``, the whole model.

    Returns:
        dict[str, nn.Module]
    """
    prefix = f'{scope}.' if scope else ''
    return {
        name: module
        for name, _, module in named_parts(model)
        if isinstance(module, kind) and name.startswith(prefix)
    }


def common_scope(names):
    """First part of the names if they share it, ``'backbone'`` say, else ``''``."""
    parts = {name.partition('.')[0] for name in names if '.' in name}
    return parts.pop() if len(parts) == 1 else ''


def load_wide_weights(convs, state, path):
    """Give supernet layers the weights of a checkpoint, without copying them.

    Args:
        convs (dict[str, WideConv2d]): By their name in the checkpoint.
        state (dict[str, Tensor]): The checkpoint's tensors.
        path (str): The file, for messages.

    Raises:
        ValueError: A layer is missing or of another shape; the message names it and says what
            the checkpoint looks like instead.
    """
    for name, conv in convs.items():
        weight = state.get(f'{name}.weight')
        if weight is None:
            raise ValueError(
                f'{path}: layer {name!r} is not in the checkpoint. Is it of this config?'
            )
        if weight.shape == conv.weight.shape:
            conv.weight.data = weight
            continue
        size, base = conv.kernel_size[0], conv.base_kernel_size
        told = f'shape {tuple(weight.shape)} where the config has {tuple(conv.weight.shape)}'
        if tuple(weight.shape[2:]) == (base, base):
            told += (
                f': a plain or searched network, not a supernet. EDO reads {size}x{size} kernels; '
                "train the supernet's config first, from this checkpoint if you like (load_from)"
            )
        raise ValueError(f'{path}: layer {name!r} has {told}.')


def read_alphas(convs, state, path):
    """Take the alpha of each NATS supernet layer from a checkpoint.

    Args:
        convs (dict[str, MixedConv2d]): By their name in the checkpoint.
        state (dict[str, Tensor]): The checkpoint's tensors.
        path (str): The file, for messages.

    Returns:
        dict[str, Tensor]: By layer, (N, genotypes).

    Raises:
        ValueError: A layer is missing, of another shape, or was trained with other genotypes;
            the message names it.
    """
    alphas = {}
    for name, conv in convs.items():
        alpha, saved = state.get(f'{name}.alpha'), state.get(f'{name}.dilations')
        if alpha is None:
            raise ValueError(
                f'{path}: layer {name!r} has no alpha in the checkpoint. Is it of a supernet of '
                'this config? A plain or searched network has none.'
            )
        if alpha.shape != conv.alpha.shape:
            raise ValueError(
                f'{path}: layer {name!r} has alpha of shape {tuple(alpha.shape)} where the config '
                f'has {tuple(conv.alpha.shape)}, channel groups by genotypes.'
            )
        if saved is not None and saved.tolist() != conv.dilations.tolist():
            raise ValueError(
                f'{path}: layer {name!r} was trained with the genotypes {saved.tolist()}, the '
                f'config has {conv.candidates}.'
            )
        alphas[name] = alpha
    return alphas


def searched_weights(state, convs, pattern, prefix=''):
    """Weights for the searched network, sliced from the supernet's taps.

    This is not in the paper, which trains the searched network from scratch.

    Args:
        state (dict[str, Tensor]): The supernet checkpoint's tensors.
        convs (dict[str, WideConv2d]): The searched layers by full name.
        pattern (DilationPattern): Of layout ``'position'``: weights stay where they are.
        prefix (str): What full names have in front of the pattern's names. Defaults to ``''``.

    Returns:
        dict[str, Tensor]: All of ``state``, with small kernels and the ``dilations`` buffers.

    Raises:
        ValueError: The pattern is of layout ``'sorted'``, which moves channels.
    """
    if pattern.meta.get('layout') != 'position':
        raise ValueError('weights can be inherited under layout "position" only.')
    searched, first = dict(state), {}
    for name, conv in convs.items():
        # The pattern has a shared layer under its first name.
        known = first.setdefault(id(conv), name)
        dilations = pattern.layers[known[len(prefix) :]].dilations
        weight = state[f'{name}.weight']
        taps = sample_taps(weight, dilations, conv.base_kernel_size)
        searched[f'{name}.weight'] = taps.contiguous()
        searched[f'{name}.dilations'] = dilations
    return searched
