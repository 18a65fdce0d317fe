"""Draw effective receptive fields: maps down, networks across."""

# Side of a level's anchor box in strides: 64, 128 and 256 pixels on P3, P4 and P5 (CR-NAS,
# Figure 1).
ANCHOR_SCALE = 8


def plot_erfs(networks, path, anchors=False):
    """Draw the ERFs of several networks side by side, all at one zoom.

    Args:
        networks (dict[str, list[ERF]]): Name to ``measure_erfs`` of each network, equally many.
        path (str | Path): Picture file; the format follows its suffix.
        anchors (bool): Draw each level's anchor box, as CR-NAS does. Defaults to False.

    Raises:
        ValueError: The networks have different numbers of maps.
    """
    erf_figure(networks, anchors).savefig(path, dpi=120)


def erf_figure(networks, anchors=False):
    """Make the figure that ``plot_erfs`` saves.

    Pixels are counted from the centre of the field. Circles show the radii that hold 50 % and
    95 % of the sum. Colours follow the square root, under which the weak outer part is seen.

    Returns:
        matplotlib.figure.Figure
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    counts = {name: len(erfs) for name, erfs in networks.items()}
    if not counts or len(set(counts.values())) != 1 or not all(counts.values()):
        raise ValueError(f'expected equally many maps of each network, got {counts}.')
    rows, columns = next(iter(counts.values())), len(networks)
    size = (1.6 + 3.4 * columns, 0.9 + 3.6 * rows)
    # Without pyplot no backend is chosen and no figure is left open: it is drawn by Agg.
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    zoom = _zoom(networks, anchors)
    for column, (name, erfs) in enumerate(networks.items()):
        for axes, erf in zip(grid[:, column], erfs):
            image = _draw(axes, erf, norm, anchors)
            axes.set_title(
                f'{name}, {erf.name}\n50 %: {erf.radius50:.1f} px, 95 %: {erf.radius95:.1f} px',
                fontsize=9,
            )
            axes.set(xlim=(-zoom, zoom), ylim=(zoom, -zoom))
    figure.supxlabel('pixels from the centre', fontsize=9)
    figure.supylabel('pixels from the centre', fontsize=9)
    bar = figure.colorbar(image, ax=grid, label='|gradient|, share of its largest value')
    bar.set_ticks([0, 0.01, 0.1, 0.25, 0.5, 1])
    return figure


def _zoom(networks, anchors):
    """Half the side, in pixels, of what is shown of each map."""
    erfs = [erf for found in networks.values() for erf in found]
    reach = [1.15 * erf.radius95 for erf in erfs]
    if anchors:
        reach += [0.6 * ANCHOR_SCALE * erf.stride for erf in erfs]
    return max(1.0, min(max(reach), max(max(erf.map.shape) for erf in erfs) / 2))


def _draw(axes, erf, norm, anchors):
    """Draw one map with its circles and, if wanted, its anchor box."""
    from matplotlib.patches import Circle, Rectangle

    (height, width), (row, column) = erf.map.shape, erf.centre
    # Pixel i covers i - 0.5 to i + 0.5.
    extent = (-0.5 - column, width - 0.5 - column, height - 0.5 - row, -0.5 - row)
    image = axes.imshow(erf.map.numpy(), cmap='viridis', norm=norm, extent=extent)
    for reach, style in ((erf.radius50, '-'), (erf.radius95, '--')):
        axes.add_patch(Circle((0, 0), reach, fill=False, color='white', linestyle=style))
    if anchors:
        side = ANCHOR_SCALE * erf.stride
        box = Rectangle((-side / 2, -side / 2), side, side, fill=False, color='red', linewidth=1.5)
        axes.add_patch(box)
    return image
