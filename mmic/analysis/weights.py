"""What trained weights tell: PSConv's scale allocation, and what DO-Conv's D changes in W.

Numbers come as plain values by layer; ``plot_...`` draws them.
"""

import math

import torch

from mmic.layers import DOConv2d, PSConv2d

KINDS = {'psconv': PSConv2d, 'doconv': DOConv2d}


def layers_of(model, kind):
    """The PSConv or DO-Conv layers of a network by name, a shared one once.

    Args:
        model (nn.Module): The network.
        kind (str): ``'psconv'`` or ``'doconv'``.

    Raises:
        ValueError: There are none.
    """
    layers = {name: m for name, m in model.named_modules() if isinstance(m, KINDS[kind])}
    if not layers:
        raise ValueError(f'the network has no {KINDS[kind].__name__} layers.')
    return layers


def load_layers(model, layers, state, path):
    """Give some layers of a network their weights from a checkpoint.

    Args:
        model (nn.Module): The network.
        layers (dict[str, nn.Module]): From ``layers_of``.
        state (dict[str, Tensor]): The checkpoint's tensors.
        path (str): The file, for messages.

    Raises:
        ValueError: A tensor is missing or of another shape; the message names the layer.
    """
    for name, layer in layers.items():
        prefix = f'{name}.' if name else ''
        for key, _ in layer.named_parameters():
            if prefix + key not in state:
                raise ValueError(
                    f'{path}: layer {name!r} has no {key} in the checkpoint. Is the checkpoint '
                    'of this config?'
                )
    own = {key: value for key, value in state.items() if key.rpartition('.')[0] in layers}
    try:
        model.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise ValueError(f'{path}: {str(error).splitlines()[-1].strip()}') from None


@torch.no_grad()
def scale_allocation(weight, dilations):
    """Share of each dilation in a PSConv layer (paper, appendix D).

    ``q_r = max over the kernels (c, k) of dilation r of mean |weight[c, k]|``, divided by the
    sum over r.

    Args:
        weight (Tensor): (C_out, C_in / groups, k, k).
        dilations (Tensor): Dilation of each kernel, (C_out, C_in / groups).

    Returns:
        dict[int, float]: By dilation, in ascending order; they sum to 1.
    """
    means = weight.double().abs().mean((2, 3))
    largest = {rate: means[dilations == rate].max().item() for rate in dilations.unique().tolist()}
    total = sum(largest.values())
    return {rate: value / total if total else 0.0 for rate, value in largest.items()}


@torch.no_grad()
def kernel_change(layer):
    """``H[m, n] = sum over output and input channels of |W' - W|`` (DO-Conv, Figure 6).

    Args:
        layer (DOConv2d): Its d_mul must be M * N: only then is W a kernel.

    Returns:
        Tensor: float64 of shape (M, N).

    Raises:
        ValueError: Another d_mul.
    """
    if layer.weight.ndim != 4:
        raise ValueError(
            f"W' can be compared with W where d_mul is {layer.depthwise.shape[0]}, the taps of the "
            f'kernel; here it is {layer.d_mul}.'
        )
    return (layer.folded_weight() - layer.weight).double().abs().sum((0, 1))


def measure(layers, kind):
    """Compute ``scale_allocation`` or ``kernel_change`` of each layer.

    Args:
        layers (dict[str, nn.Module]): From ``layers_of``.
        kind (str): ``'psconv'`` or ``'doconv'``.

    Returns:
        dict[str, dict[int, float] | Tensor]

    Raises:
        ValueError: A layer that cannot be measured; the message names it.
    """
    found = {}
    for name, layer in layers.items():
        if not all(parameter.isfinite().all() for parameter in layer.parameters()):
            raise ValueError(f'Layer {name!r}: the weights hold NaN or infinite values.')
        try:
            if kind == 'psconv':
                found[name] = scale_allocation(layer.weight, layer.dilations)
            else:
                found[name] = kernel_change(layer)
        except ValueError as error:
            raise ValueError(f'Layer {name!r}: {error}') from None
    return found


def plot_scale_allocation(shares, path):
    """Draw one curve a dilation over the layers.

    Args:
        shares (dict[str, dict[int, float]]): ``scale_allocation`` of each layer.
        path (str | Path): Picture file; the format follows its suffix.
    """
    plt = _pyplot()
    names = list(shares)
    figure, axes = plt.subplots(figsize=(3 + 0.3 * len(names), 4.5), layout='constrained')
    for rate in sorted({rate for layer in shares.values() for rate in layer}):
        values = [shares[name].get(rate, math.nan) for name in names]
        axes.plot(range(len(names)), values, marker='o', label=f'dilation {rate}')
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_ylim(0, 1.1 * max(value for layer in shares.values() for value in layer.values()) or 1)
    axes.set_xlabel('layer, from input to output')
    axes.set_ylabel('largest mean |kernel|, share of the layer')
    axes.set_title('PSConv: scale allocation over dilations', fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_kernel_changes(changes, path, columns=6):
    """Draw one map a layer, each divided by its largest value, as in the paper.

    Args:
        changes (dict[str, Tensor]): ``kernel_change`` of each layer.
        path (str | Path): Picture file; the format follows its suffix.
        columns (int): Maps in a row. Defaults to 6.
    """
    plt = _pyplot()
    columns = min(columns, len(changes))
    rows = math.ceil(len(changes) / columns)
    size = (1.2 + 1.9 * columns, 1 + 2.1 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout='constrained', squeeze=False)
    for axes in grid.flat[len(changes) :]:
        axes.axis('off')
    for axes, (name, change) in zip(grid.flat, changes.items()):
        largest = change.max().item()
        image = axes.imshow((change / (largest or 1)).tolist(), cmap='viridis', vmin=0, vmax=1)
        axes.set_title(f'{name}\nlargest {largest:.3g}', fontsize=7)
        axes.set_xticks(range(change.shape[1]))
        axes.set_yticks(range(change.shape[0]))
        axes.tick_params(labelsize=6)
    figure.suptitle("DO-Conv: |W' - W| summed over channels", fontsize=10)
    figure.supxlabel('kernel column n', fontsize=8)
    figure.supylabel('kernel row m', fontsize=8)
    figure.colorbar(image, ax=grid, label="H[m, n] / the layer's largest")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _pyplot():
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    return pyplot
