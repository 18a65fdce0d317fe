"""Draw points of the papers' figures: printed ones hollow, measured ones filled."""

from typing import Dict, List, Optional, Sequence, Tuple

from mmic.analysis.row_points import Point


def point_figure(
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    title: Optional[str] = None,
    joined: bool = True,
    x_ticks: Optional[Sequence[float]] = None,
):
    """Make a figure of points; its legend says what is printed and what is measured.

    Args:
        points (Sequence[Point]): At least one.
        x_label (str): What goes to the right, with its unit.
        y_label (str): What goes upwards, with its unit.
        title (str, optional): Defaults to None: no title.
        joined (bool): Join the points of a series by a line: solid where a series is its own
            group, dashed where it is compared with another, as in CR-NAS, Figure 5. Defaults to
            True.
        x_ticks (Sequence[float], optional): Defaults to None: matplotlib's.

    Returns:
        matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    # Without pyplot no backend is chosen and no figure is left open: it is drawn by Agg.
    figure = Figure(figsize=(7.2, 4.6), layout='constrained')
    axes = figure.subplots()
    colours = _colours(points)
    handles = []
    for (series, group), members in _by_series(points).items():
        style = 'none' if not joined else '-' if series == group else '--'
        colour = colours[group]
        for here in (False, True):
            own = sorted((p.x, p.y) for p in members if p.measured is here)
            if own:
                face = colour if here else 'white'
                axes.plot(
                    *zip(*own),
                    linestyle=style,
                    marker='o',
                    color=colour,
                    markerfacecolor=face,
                )
        handles.append(
            Line2D([], [], linestyle=style, color=colour, label=series)
            if joined
            else Patch(color=colour, label=series)
        )
    handles += _kinds(points, Line2D)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if title:
        axes.set_title(title, fontsize=10)
    if x_ticks:
        axes.set_xticks(x_ticks)
    axes.grid(alpha=0.3)
    axes.legend(handles=handles, fontsize=8)
    return figure


def _by_series(points: Sequence[Point]) -> Dict[Tuple[str, str], List[Point]]:
    found: Dict[Tuple[str, str], List[Point]] = {}
    for point in points:
        found.setdefault((point.series, point.group), []).append(point)
    return found


def _colours(points: Sequence[Point]) -> Dict[str, str]:
    groups = dict.fromkeys(point.group for point in points)
    return {group: f'C{number % 10}' for number, group in enumerate(groups)}


def _kinds(points, line) -> list:
    """Legend entries for hollow and filled markers; one says so where nothing was measured."""
    found = {point.measured for point in points}
    grey = dict(linestyle='none', marker='o', color='dimgray')
    entries = []
    if False in found:
        entries.append(line([], [], **grey, markerfacecolor='white', label='printed in the paper'))
    measured = 'measured here' if True in found else 'measured here: none'
    entries.append(line([], [], **grey, label=measured))
    return entries
