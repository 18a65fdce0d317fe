"""Curves of trainings, from what mmengine logged."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from mmic.engine.scalars import read_scalars

# An accuracy's name turned into that of its error, 100 % less it.
ACCURACY, ERROR = 'accuracy', 'error'


class Curve(NamedTuple):
    """What one training logged under one name.

    Attributes:
        run (str): Name of the training.
        key (str): Name of what is drawn.
        unit (str): What x counts, ``'epoch'`` or ``'iteration'``.
        values (dict[int, float]): By epoch, of which the last record counts, or by iteration.
    """

    run: str
    key: str
    unit: str
    values: Dict[int, float]


def read_curves(folder: Union[str, Path], keys: Sequence[str], run: str) -> List[Curve]:
    """Read what a training logged.

    Args:
        folder (str | Path): See ``read_scalars``.
        keys (Sequence[str]): Names as in ``scalars.json``: ``'loss'``, ``'accuracy_top-1'`` of
            training, ``'accuracy/top1'`` of validation, ``'coco/bbox_mAP'``; with ``error`` in
            place of ``accuracy`` 100 less that.
        run (str): Name of the training.

    Returns:
        list[Curve]: One for each key. What was run again after an interruption counts once.

    Raises:
        FileNotFoundError | BadFileError: See ``read_scalars``.
        ValueError: A key was not logged; the message names those that were.
    """
    records = read_scalars(folder)
    # A training that counts epochs says so in the records of its iterations.
    unit = 'epoch' if any('epoch' in record for record in records) else 'iteration'
    curves = []
    for key in keys:
        is_error = key.startswith(ERROR)
        name = ACCURACY + key[len(ERROR) :] if is_error else key
        values = {
            record.get('epoch', record['step']): 100 - record[name] if is_error else record[name]
            for record in records
            if name in record and 'step' in record
        }
        if not values:
            known = sorted({name for record in records for name in record})
            raise ValueError(f'{folder}: {name!r} was not logged; there are {", ".join(known)}.')
        curves.append(Curve(run, key, unit, dict(sorted(values.items()))))
    return curves


def run_names(folders: Sequence[str], labels: Optional[Sequence[str]] = None) -> List[str]:
    """Name trainings: by their labels, else by their folders, whole paths where names repeat.

    Raises:
        ValueError: Not as many labels as folders, or one twice.
    """
    if labels is None:
        names = [Path(folder).resolve().name for folder in folders]
        labels = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    if len(labels) != len(folders) or len(set(labels)) < len(labels):
        raise ValueError(
            f'expected {len(folders)} different labels, one for each work dir, got '
            f'{", ".join(labels)}.'
        )
    return list(labels)


def curve_figure(curves: Sequence[Curve], title: Optional[str] = None):
    """Make a figure of curves: a colour for each training, a line style for each key.

    Args:
        curves (Sequence[Curve]): At least one.
        title (str, optional): Defaults to None: no title.

    Returns:
        matplotlib.figure.Figure

    Raises:
        ValueError: Some trainings count epochs and others iterations.
    """
    from matplotlib.figure import Figure

    units = {curve.unit: curve.run for curve in curves}
    if len(units) > 1:
        told = ', '.join(f'{run} by {unit}' for unit, run in units.items())
        raise ValueError(f'trainings are logged by epoch or by iteration, these by both: {told}.')
    runs = list(dict.fromkeys(curve.run for curve in curves))
    keys = list(dict.fromkeys(curve.key for curve in curves))
    styles = ['--', '-', ':', '-.']
    # Without pyplot no backend is chosen and no figure is left open: it is drawn by Agg.
    figure = Figure(figsize=(7.2, 4.6), layout='constrained')
    axes = figure.subplots()
    for curve in curves:
        axes.plot(
            list(curve.values),
            list(curve.values.values()),
            # A single point has no line.
            marker='o' if len(curve.values) == 1 else None,
            color=f'C{runs.index(curve.run) % 10}',
            linestyle=styles[keys.index(curve.key) % len(styles)],
            label=f'{curve.run}: {curve.key}',
        )
    axes.set_xlabel(next(iter(units)))
    axes.set_ylabel(', '.join(keys))
    if title:
        axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
