"""Draw kernel lattices: output channels down, input channels across, a colour for each dilation."""

import math
from typing import TYPE_CHECKING, Dict, Sequence, Tuple

import torch

from mmic.analysis.lattice import Lattice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Up to so many channels on either side, cells are framed and have their dilation written in them.
MAX_WRITTEN = 20
Colour = Tuple[float, float, float, float]


def dilation_colours(dilations: Sequence) -> Dict:
    """A colour for each dilation; ordered shades, or distinct hues where there are many.

    Args:
        dilations (Sequence): Distinct, in ascending order.

    Returns:
        dict: Dilation to RGBA, each from 0 to 1.
    """
    from matplotlib import colormaps

    count = len(dilations)
    if count > 8:
        hues = colormaps['tab20' if count <= 20 else 'nipy_spectral']
        return {
            rate: hues(place if count <= 20 else 0.05 + 0.9 * place / count)
            for place, rate in enumerate(dilations)
        }
    shades = colormaps['viridis']
    # From light to dark, without the darkest, on which nothing can be written in black.
    return {
        rate: shades(0.95 - 0.7 * place / max(1, count - 1)) for place, rate in enumerate(dilations)
    }


def ink_on(colour: Colour) -> str:
    """Black or white, whichever is read better on a colour (luminance of ITU-R BT.601)."""
    red, green, blue = colour[:3]
    return 'black' if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else 'white'


def lattice_figure(lattices: Sequence[Lattice]) -> 'Figure':
    """Draw lattices side by side, with one legend.

    Args:
        lattices (Sequence[Lattice]): One axes each.

    Returns:
        matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    found = torch.cat([lattice.dilations.flatten(0, 1) for lattice in lattices]).unique(dim=0)
    pairs = [tuple(pair) for pair in found.tolist()]
    colours = dilation_colours([pair for pair in pairs if pair != (0, 0)])
    colours = {pair: colours.get(pair, (1, 1, 1, 1)) for pair in pairs}
    square = all(h == w for h, w in pairs)
    texts = {pair: str(pair[0]) if square else f'{pair[0]},{pair[1]}' for pair in pairs}
    patches = [
        Patch(
            facecolor=colours[pair],
            edgecolor='grey',
            label='no kernel' if pair == (0, 0) else f'dilation {texts[pair]}',
        )
        for pair in pairs
    ]
    columns = min(len(patches), 4 * len(lattices))
    size = (5.2 * len(lattices), 5.9 + 0.24 * math.ceil(len(patches) / columns))
    figure = Figure(figsize=size, layout='constrained')
    for axes, lattice in zip(figure.subplots(1, len(lattices), squeeze=False)[0], lattices):
        _draw(axes, lattice, colours, texts)
    figure.legend(handles=patches, loc='outside lower center', ncols=columns, fontsize=8)
    return figure


def _draw(
    axes: 'Axes', lattice: Lattice, colours: Dict[tuple, Colour], texts: Dict[tuple, str]
) -> None:
    """Draw one lattice."""
    cells = [[tuple(pair) for pair in row] for row in lattice.dilations.tolist()]
    small = max(len(cells), len(cells[0])) <= MAX_WRITTEN
    axes.imshow(
        [[colours[pair] for pair in row] for row in cells],
        interpolation='nearest',
        aspect='equal' if small else 'auto',
    )
    axes.set_title(lattice.title, fontsize=9)
    sides = (('y', 'output channel', lattice.rows), ('x', 'input channel', lattice.columns))
    for (side, label, order), length in zip(sides, (len(cells), len(cells[0]))):
        moved = order is not None and order != list(range(length))
        axis = getattr(axes, f'{side}axis')
        axis.set_label_text(f'{label}, rearranged' if moved else label)
        if length <= MAX_WRITTEN:
            axis.set_ticks(range(length), order or range(length), fontsize=7)
        elif moved:
            axis.set_ticks([])
    if not small:
        return
    # Frames between cells: minor ticks, half a cell beside the major ones.
    axes.set_xticks([x - 0.5 for x in range(len(cells[0]) + 1)], minor=True)
    axes.set_yticks([y - 0.5 for y in range(len(cells) + 1)], minor=True)
    axes.grid(which='minor', color='grey', linewidth=0.5)
    axes.tick_params(which='minor', length=0)
    for y, row in enumerate(cells):
        for x, pair in enumerate(row):
            if pair != (0, 0):
                ink = ink_on(colours[pair])
                axes.text(x, y, texts[pair], ha='center', va='center', fontsize=6.5, color=ink)
