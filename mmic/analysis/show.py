"""Look at a pattern: a table for the terminal, a heat map for a picture."""

import torch
from rich.table import Table


def count_dilations(dilations):
    """Count output channels per dilation, the most frequent first.

    Args:
        dilations (Tensor): Shape (C_out, 2).

    Returns:
        list[tuple[tuple[int, int], int]]: ``((d_h, d_w), count)``.
    """
    values, counts = torch.unique(dilations, dim=0, return_counts=True)
    pairs = zip(map(tuple, values.tolist()), counts.tolist())
    return sorted(pairs, key=lambda item: (-item[1], item[0]))


def pattern_table(pattern, shown=4, **extra):
    """Table of a pattern: how many channels of each layer have which dilation.

    Args:
        pattern (DilationPattern): The pattern.
        shown (int): The most frequent dilations to list per layer. Defaults to 4.
        **extra (dict[str, str]): Further columns: title to cells by layer name.

    Returns:
        rich.table.Table
    """
    table = Table(title=f'{pattern.method} pattern, dilations as (d_h, d_w) x channels')
    table.add_column('layer', no_wrap=True)
    titles = [column.replace('_', ' ') for column in extra]
    for title in ('C_out', 'dilations', '(1, 1)', 'mean d_h', 'mean d_w', *titles):
        table.add_column(title, justify='right', no_wrap=True)
    table.add_column('most frequent')
    for name, layer in pattern.layers.items():
        counts = count_dilations(layer.dilations)
        share = dict(counts).get((1, 1), 0) / layer.out_channels
        means = layer.dilations.double().mean(0).tolist()
        listed = ', '.join(f'({h}, {w}) x {count}' for (h, w), count in counts[:shown])
        cells = [str(layer.out_channels), str(len(counts)), f'{share:.0%}']
        cells += [f'{mean:.2f}' for mean in means]
        cells += [column[name] for column in extra.values()]
        table.add_row(name, *cells, listed + (', ...' if len(counts) > shown else ''))
    return table


def plot_pattern(pattern, path, title=None):
    """Save ``pattern_figure`` as a picture file, whose format follows its suffix."""
    pattern_figure(pattern, title).savefig(path, dpi=120)


def pattern_figure(pattern, title=None):
    """Draw a heat map: layers against dilations, coloured by their share of the channels.

    Args:
        pattern (DilationPattern): The pattern.
        title (str, optional): Defaults to None: the method and the pattern's file.

    Returns:
        matplotlib.figure.Figure
    """
    # Without pyplot no backend is chosen and no figure is left open: it is drawn by Agg.
    from matplotlib.figure import Figure

    largest = max(int(layer.dilations.max()) for layer in pattern.layers.values())
    shares = torch.zeros(len(pattern.layers), largest, largest)
    for row, layer in enumerate(pattern.layers.values()):
        for (h, w), count in count_dilations(layer.dilations):
            shares[row, h - 1, w - 1] = count / layer.out_channels
    names = [f'{name} ({layer.out_channels})' for name, layer in pattern.layers.items()]
    pairs = [f'{h},{w}' for h in range(1, largest + 1) for w in range(1, largest + 1)]
    # High enough for the words beside the colour bar.
    size = (max(6.0, 3.5 + 0.34 * len(pairs)), max(3.6, 1.8 + 0.24 * len(names)))
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(100 * shares.flatten(1), aspect='auto', cmap='viridis', vmin=0)
    axes.set_xticks(range(len(pairs)), pairs, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel('dilation d_h,d_w')
    axes.set_ylabel('layer (output channels)')
    axes.set_title(title or f'{pattern.method} pattern: {pattern.source}', fontsize=10)
    figure.colorbar(image, label='channels with this dilation, %')
    return figure
