"""The table of the papers' results: which config belongs to each, or why there is none."""

import difflib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Optional

import yaml

from mmic.engine.row_options import check_options
from mmic.files import BadFileError

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ('ic', 'ps', 'nats', 'cr', 'do')
SEARCHES = ('edo', 'nats', 'cr_stage', 'cr_operation')
CONFIGS = ('config', 'pretrain', 'supernet', 'supernet_pretrain')
OPTIONS = ('options', 'supernet_options')
LINKS = ('baseline', 'same_as', 'pattern_of', 'weights_of')
# Exactly one of them stands in each row.
KINDS = ('config', 'same_as', 'not_run', 'todo')


@dataclass(frozen=True)
class Row:
    """One printed result.

    Attributes:
        id (str): Paper, table, network; a paper's own plain network ends in ``.base``.
        table (str): Where the paper prints it, for example ``'Table 3'``.
        network (str): Detector or head, and backbone.
        dataset (str | None): What it is tested on.
        metrics (dict[str, float]): The printed numbers, as they stand.
        delta (dict[str, float]): The same where the paper prints differences from the baseline.
        architecture (dict[str, list[int]]): What CR-NAS prints in Tables 5 and 6.
        baseline (str | None): Row of the same paper that this one is compared with.
        config (str | None): What is trained and tested, below ``configs/``.
        same_as (str | None): Row of the same training, which the paper or another prints again.
        not_run (str | None): Why there is nothing to train.
        todo (bool): There is no config yet.
        options (dict[str, Any]): Settings of ``config`` to change, by their place, for example
            ``{'model.backbone.depth': 18}``: in the row's training and its test.
        pretrain (str | None): Config of the ImageNet training whose weights ``config`` starts from.
        pattern_of (str | None): Row whose search found what is used: by the network or, where
            the row searches on, by the supernet.
        supernet_pretrain (str | None): As ``pretrain``, of the supernet.
        supernet (str | None): Config of the supernet.
        supernet_options (dict[str, Any]): As ``options``, of the supernet: in its training on
            ImageNet, its training and the search.
        search (str | None): One of ``SEARCHES``.
        search_options (str): Further arguments of the search's command.
        pattern (str | None): Where the search writes, if not where ``config`` reads.
        weights_of (str | None): Row whose trained network is tested with ``config``.
        runs (int): Trainings, with a seed each, whose mean is the result.
        note (str | None): What else to know.
    """

    id: str
    table: str
    network: str
    dataset: Optional[str] = None
    metrics: dict = field(default_factory=dict)
    delta: dict = field(default_factory=dict)
    architecture: dict = field(default_factory=dict)
    baseline: Optional[str] = None
    config: Optional[str] = None
    same_as: Optional[str] = None
    not_run: Optional[str] = None
    todo: bool = False
    options: dict = field(default_factory=dict)
    pretrain: Optional[str] = None
    pattern_of: Optional[str] = None
    supernet_pretrain: Optional[str] = None
    supernet: Optional[str] = None
    supernet_options: dict = field(default_factory=dict)
    search: Optional[str] = None
    search_options: str = ''
    pattern: Optional[str] = None
    weights_of: Optional[str] = None
    runs: int = 1
    note: Optional[str] = None

    @property
    def paper(self):
        return self.id.split('.')[0]

    def printed(self, limit=None):
        """Return the printed numbers in words, differences with their sign; at most ``limit``."""
        words = [f'{name} {value}' for name, value in self.metrics.items()]
        words += [f'{name} {value:+}' for name, value in self.delta.items()]
        words += [f'{name} {value}' for name, value in self.architecture.items()]
        return ', '.join(words[:limit])


# The one in C is ten times as fast, where PyYAML was built with it.
class _Loader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    """Refuses a key that stands twice, of which YAML would keep the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise BadFileError(f'line {node.start_mark.line + 1}: {twice[0]} stands twice.')
        return super().construct_mapping(node, deep)


def read_rows(root=ROOT):
    """Read and check the table, ``configs/rows/*.yml``.

    Args:
        root (str | Path): Folder of the repository.

    Returns:
        dict[str, Row]: All rows by id, in the order of the files.

    Raises:
        FileNotFoundError: A paper has no file.
        BadFileError: A row has an unknown key, lacks one, has none or several of ``KINDS``,
            names a config or a row that is not there, or has options that no command can take.
    """
    rows, files = {}, {}
    for paper in PAPERS:
        path = Path(root) / 'configs' / 'rows' / f'{paper}.yml'
        for key, values in _read_file(path).items():
            if key.split('.')[0] != paper:
                raise BadFileError(f'{path}: {key}: ids in this file start with {paper}.')
            rows[key], files[key] = _make_row(key, values, path), path
    for row in rows.values():
        try:
            _check(row, rows, Path(root) / 'configs')
        except ValueError as error:
            raise BadFileError(f'{files[row.id]}: {row.id}: {error}') from None
    return rows


def find_row(rows, key):
    """Return the row of an id.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        key (str): The id.

    Raises:
        ValueError: There is no such row; the message names those of similar ids.
    """
    if key in rows:
        return rows[key]
    near = difflib.get_close_matches(key, rows, n=5, cutoff=0.6)
    raise ValueError(f'no row {key!r}; ' + (f'near it: {", ".join(near)}' if near else 'see list'))


def resolve(rows, row):
    """Return the row that has the config: ``row``, or the one that it is the same as."""
    return rows[row.same_as] if row.same_as else row


def _read_file(path):
    try:
        with open(path, encoding='utf-8') as file:
            content = yaml.load(file, _Loader)
    except (yaml.YAMLError, BadFileError) as error:
        raise BadFileError(f'{path}: {error}') from None
    if not isinstance(content, dict):
        raise BadFileError(f'{path}: expected rows by id, got {type(content).__name__}.')
    return content


def _make_row(key, values, path):
    known = {entry.name for entry in fields(Row)} - {'id'}
    if not isinstance(values, dict):
        raise BadFileError(f'{path}: {key}: expected a row, got {values!r}.')
    unknown = sorted(set(values) - known)
    if unknown:
        raise BadFileError(f'{path}: {key}: unknown key {unknown[0]!r}; known: {sorted(known)}.')
    for name in ('table', 'network'):
        if name not in values:
            raise BadFileError(f'{path}: {key}: {name} is missing.')
    return Row(id=key, **values)


def _check(row, rows, configs):
    kinds = [kind for kind in KINDS if getattr(row, kind)]
    if len(kinds) != 1:
        raise ValueError(f'one of {", ".join(KINDS)} is needed, got {", ".join(kinds) or "none"}.')
    for name in CONFIGS:
        path = getattr(row, name)
        if path and not (configs / path).is_file():
            raise ValueError(f'{name}: there is no configs/{path}.')
    for name in OPTIONS:
        try:
            check_options(getattr(row, name))
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from None
    if row.options and not row.config:
        raise ValueError('options change a config, and the row has none.')
    if row.supernet_options and not row.supernet:
        raise ValueError('supernet_options change a supernet, and the row has none.')
    if row.supernet_options and not row.pattern:
        raise ValueError(
            f'supernet_options need a pattern of their own, work_dirs/{row.id}/pattern.json.'
        )
    for name in LINKS:
        other = getattr(row, name)
        if other == row.id:
            raise ValueError(f'{name}: the row names itself.')
        if other and other not in rows:
            near = difflib.get_close_matches(other, rows, n=1)
            hint = f'; {near[0]}?' if near else '.'
            raise ValueError(f'{name}: there is no row {other}{hint}')
        if other and name != 'baseline' and rows[other].same_as:
            raise ValueError(f'{name}: {other} has no config itself, name {rows[other].same_as}.')
    if row.baseline and rows[row.baseline].paper != row.paper:
        raise ValueError(f'baseline: {row.baseline} is of another paper.')
    if row.search and row.search not in SEARCHES:
        raise ValueError(f'search: expected one of {", ".join(SEARCHES)}, got {row.search!r}.')
    if bool(row.search) != bool(row.supernet):
        raise ValueError('search and supernet go together.')
    if row.pattern_of and not rows[row.pattern_of].search:
        raise ValueError(f'pattern_of: {row.pattern_of} searches nothing.')
    if row.weights_of and not rows[row.weights_of].config:
        raise ValueError(f'weights_of: {row.weights_of} trains nothing.')
