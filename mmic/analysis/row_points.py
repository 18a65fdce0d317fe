"""Points of the papers' figures: of rows of the table of results, or of two searches' journals."""

import copy
import difflib
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings

from mmic.analysis.complexity import count_complexity
from mmic.engine.report import measured_values
from mmic.engine.reproduce import load_config
from mmic.engine.rows import Row, resolve
from mmic.search.journal import Journal

DEPTH = re.compile(r'(?<=[A-Za-z])\d{2,3}\S*')
SUPERNET = re.compile(r', \d+x\d+ supernet')
TOP1 = 'top1_acc'


class Point(NamedTuple):
    """A network in a figure.

    Attributes:
        x (float): Its place.
        y (float): The metric, in the paper's unit.
        series (str): Networks of one kind, which differ in depth for example.
        group (str): The series that this one is compared with, or itself: they share a colour.
        measured (bool): Whether it was measured here, or else printed by the paper.
    """

    x: float
    y: float
    series: str
    group: str
    measured: bool


def choose_rows(rows: Dict[str, Row], patterns: Iterable[str]) -> List[Row]:
    """Choose rows by their ids.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        patterns (Iterable[str]): Ids, or patterns of them such as ``'cr.t1.*'``.

    Returns:
        list[Row]: In the table's order, those with a config alone.

    Raises:
        ValueError: A pattern fits no row; the message names ids near it.
    """
    chosen = set()
    for pattern in patterns:
        found = [key for key in rows if fnmatchcase(key, pattern)]
        if not found:
            near = ', '.join(difflib.get_close_matches(pattern, rows, n=3, cutoff=0.5))
            raise ValueError(
                f'--rows: no id is like {pattern!r}' + (f'; near: {near}' * bool(near))
            )
        chosen.update(found)
    return [row for key, row in rows.items() if key in chosen and resolve(rows, row).config]


def row_points(
    rows: Dict[str, Row],
    chosen: Sequence[Row],
    results: Dict[str, dict],
    metric: str,
    place: Callable[[Row], Optional[float]],
    name: Callable[[str], str],
) -> List[Point]:
    """Make the points of some rows.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        chosen (Sequence[Row]): Rows to draw.
        results (dict[str, dict]): What was measured, see ``read_results``.
        metric (str): What is drawn upwards, for example ``'box_AP'``.
        place (Callable): x of a row. It is asked once for each training, and only where there is
            something to draw.
        name (Callable): The series of a row's network.

    Returns:
        list[Point]: None twice. A row that is the same as another has what that one prints.

    Raises:
        ValueError: Nothing was printed or measured.
    """
    places, points = {}, []
    for row in chosen:
        owner = resolve(rows, row)
        printed = row.metrics.get(metric, owner.metrics.get(metric))
        measured = measured_values(rows, results, row).get(metric)
        if printed is None and measured is None:
            continue
        if owner.id not in places:
            places[owner.id] = place(owner)
        base = rows[row.baseline] if row.baseline else row
        series, group = name(row.network), name(base.network)
        for value, here in ((printed, False), (measured, True)):
            if value is not None:
                points.append(Point(places[owner.id], value, series, group, here))
    if not points:
        raise ValueError(f'of {len(chosen)} rows none has {metric}, printed or in --results.')
    return list(dict.fromkeys(points))


def series_of_depths(network: str) -> str:
    """Name the networks that differ from this one in depth: ``'Faster R-CNN (FPN) ResNet'``."""
    return DEPTH.sub('', network)


def series_of_supernets(network: str) -> str:
    """Name the networks that were found in supernets of other sizes."""
    return SUPERNET.sub('', network)


def row_macs(row: Row, shape: Tuple[int, int], proposals: int) -> float:
    """Count the multiply-accumulates of a row's network for one image, in thousands of millions.

    Raises:
        ValueError | OSError: It cannot be built, as where the pattern it reads is not there yet,
            or cannot be counted.
    """
    cfg = copy.deepcopy(load_config(row.config))
    cfg.merge_from_dict(row.options)
    import_modules_from_strings(**cfg.get('custom_imports') or {'imports': []})
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    return count_complexity(MODELS.build(cfg.model), shape, proposals).total_macs / 1e9


def supernet_kernel(row: Row) -> int:
    """Kernel size of the supernet that a row searches, 2 d_max + 1; 3 where it searches none."""
    if not row.supernet:
        return 3
    cfg = copy.deepcopy(load_config(row.supernet))
    cfg.merge_from_dict(row.supernet_options)
    d_max = cfg.model.backbone.get('d_max')
    if d_max is None:
        raise ValueError(f'{row.id}: configs/{row.supernet} has no model.backbone.d_max.')
    return 2 * d_max + 1


def accuracy_points(
    rows: Dict[str, Row], chosen: Sequence[Row], results: Dict[str, dict], metric: str
) -> List[Point]:
    """Points of the rows whose top-1 accuracy is known too: printed both, or both measured.

    Series are the networks that cost the same: a row's baseline and what is compared with it.

    Raises:
        ValueError: There is none.
    """
    points = []
    for row in chosen:
        printed = {**resolve(rows, row).metrics, **row.metrics}
        base = rows[row.baseline] if row.baseline else row
        series = f'cost of {base.network}'
        for values, here in ((printed, False), (measured_values(rows, results, row), True)):
            if TOP1 in values and metric in values:
                points.append(Point(values[TOP1], values[metric], series, series, here))
    if not points:
        raise ValueError(
            f'of {len(chosen)} rows none has {TOP1} and {metric}, both printed or in --results.'
        )
    return list(dict.fromkeys(points))


def journal_points(top1: Union[str, Path], ap: Union[str, Path]) -> List[Point]:
    """Points of the architectures that two searches scored, in percent.

    Args:
        top1 (str | Path): Journal of the classifier's supernet, scored by top-1 in percent.
        ap (str | Path): Journal of the detector's supernet, scored by AP from 0 to 1.

    Returns:
        list[Point]

    Raises:
        BadFileError: One of them is no journal.
        ValueError: They are of different kinds of search, or have no architecture in common.
    """
    journals = [Journal.of_file(path) for path in (top1, ap)]
    kinds = [journal.header.get('kind') for journal in journals]
    if kinds[0] != kinds[1]:
        raise ValueError(f'{top1} is of the {kinds[0]} search, {ap} of the {kinds[1]} search.')
    accuracies, precisions = (journal.scores for journal in journals)
    both = [architecture for architecture in precisions if architecture in accuracies]
    if not both:
        raise ValueError(f'{top1} and {ap} have no architecture in common.')
    label = f'{len(both)} paths of equal cost'
    return [Point(accuracies[a], 100 * precisions[a], label, label, True) for a in both]
