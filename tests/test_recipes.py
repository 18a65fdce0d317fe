"""Trainings of the rows' chains, with all options of the commands, against what the papers print.

``recipes/PAPER.yml`` lists what is printed, with the place (``source``): which ``rows`` (ids, ``*``
for any characters) and which ``step`` of their chains it is about, and the ``recipe``, by the names
of ``recipe`` below. Entries about one step add up. ``chosen`` says why, where the text is open.
"""

import functools
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import mmengine
import pytest
import yaml

from mmic.engine.reproduce import config_of, steps_of
from mmic.engine.rows import read_rows, resolve

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')

# Whose plain networks are trained as the others.
ALIKE = ('ic', 'ps', 'nats', 'cr', 'do')
# What papers leave open, and no entry chooses: pose estimators' batch, DeepLabv3's (in iterations).
OPEN = {'ic.t8.*': {'batch'}, 'do.t4.*': {'batch', 'epochs'}}
# What is compared is the ImageNet training itself (footnote 5).
UNLIKE = ('ps.text.faster_rcnn.r50.cosine_pretrain',)
FOLDER = Path(__file__).parent / 'recipes'
ENTRIES = [
    dict(entry, paper=path.stem)
    for path in sorted(FOLDER.glob('*.yml'))
    for entry in yaml.safe_load(path.read_text())
]


@pytest.fixture(scope='module', autouse=True)
def _index_is_read_once():
    """Config.fromfile reads a host's whole index of models for each of its files."""
    read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)
    with mock.patch('mmengine.config.utils.load', read_once):
        yield


ROWS = read_rows()


@functools.lru_cache(maxsize=None)
def recipes_of(row):
    """Recipe of each training in a row's chain, by the step's name; several runs are alike."""
    steps = [step for step in steps_of(ROWS, row) if step.command[0] == 'tools/train.py']
    return {step.name: recipe(config_of(step)) for step in steps}


def recipe(cfg):
    """How a config trains, in the words of ``recipes``.

    ``lr`` is for ``batch`` images. ``schedule`` is ``cosine``, ``poly``, a factor ``an epoch`` or
    the epochs after which the rate falls. ``start`` is what the backbone starts from: ``random``,
    a checkpoint of this chain without its epoch, or where published weights are.
    """
    optimizer = cfg.optim_wrapper.optimizer
    # NATS has schedulers of two optimizers.
    schedulers = cfg.param_scheduler
    if isinstance(schedulers, dict):
        schedulers = schedulers.get('weights', schedulers)
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    main = schedulers[-1]
    backbone = cfg.model.backbone
    # A classifier's backbone is built by a function around it.
    inner = backbone
    while inner.type.startswith('build_'):
        inner = inner.model
    init = backbone.get('init_cfg') or inner.get('init_cfg') or {}
    start = init.get('checkpoint', 'random') if isinstance(init, dict) else 'random'
    kinds = {'CosineAnnealingLR': 'cosine', 'PolyLR': 'poly'}
    kinds['ExponentialLR'] = f'{main.get("gamma")} an epoch'
    found = dict(
        optimizer=optimizer.type,
        momentum=optimizer.get('momentum'),
        weight_decay=optimizer.get('weight_decay', 0),
        lr=optimizer.lr,
        batch=cfg.auto_scale_lr.base_batch_size,
        epochs=cfg.train_cfg.get('max_epochs'),
        schedule=kinds.get(main.type) or list(main.milestones),
        warm_up=len(schedulers) > 1,
        scale=scale(cfg.train_dataloader.dataset),
        frozen_stages=inner.get('frozen_stages', -1),
        norm=inner.get('norm_cfg', dict(type='BN'))['type'],
        norm_eval=inner.get('norm_eval', False),
        start=str(Path(start).parent) if start.startswith('work_dirs/') else start,
    )
    if 'Res' in inner.type:
        found['zero_init_residual'] = inner.get('zero_init_residual', True)
    return found


def scale(dataset):
    """Longest and shortest side that training images are scaled to; None where they are not."""
    while 'pipeline' not in dataset:
        dataset = dataset.get('dataset') or dataset.datasets[0]
    sizes = [step.scale for step in dataset.pipeline if step.type == 'Resize']
    return list(sizes[0]) if sizes else None


def as_list(value):
    return value if isinstance(value, list) else [value]


def chosen(patterns):
    """Rows with a chain whose ids match."""
    return [
        row.id
        for row in ROWS.values()
        if row.config and any(fnmatch(row.id, pattern) for pattern in as_list(patterns))
    ]


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: f'{entry["paper"]}: {entry["source"]}')
def test_chains_train_as_the_papers_print(entry):
    assert (
        {'source', 'rows', 'step', 'recipe'}
        <= set(entry)
        <= {'paper', 'source', 'rows', 'step', 'recipe', 'chosen'}
    )
    checked = 0
    for row in chosen(entry['rows']):
        for step in as_list(entry['step']):
            found = recipes_of(row).get(step)
            if found is None:
                continue
            checked += 1
            expected = entry['recipe']
            assert {name: found[name] for name in expected} == expected, f'{row}: {step}'
    assert checked


def stated(row, step):
    """Names of a recipe that the table has for a step."""
    return {
        name
        for entry in ENTRIES
        if row in chosen(entry['rows']) and step in as_list(entry['step'])
        for name in entry['recipe']
    }


@pytest.mark.parametrize('paper', ALIKE)
def test_the_table_covers_every_training(paper):
    needed = {'optimizer', 'lr', 'batch', 'epochs', 'schedule'}
    gaps = {}
    for row in chosen(f'{paper}.*'):
        for step in recipes_of(row):
            open_here = {name for rows in OPEN if fnmatch(row, rows) for name in OPEN[rows]}
            missing = needed - stated(row, step) - open_here
            if missing:
                gaps[f'{row}: {step}'] = missing
    assert not gaps


def pairs():
    """Rows and their baselines, each as the rows that are trained, once."""
    found = {}
    for row in ROWS.values():
        if row.baseline and row.paper in ALIKE and row.id not in UNLIKE:
            ours, plain = resolve(ROWS, row), resolve(ROWS, ROWS[row.baseline])
            if ours.config and plain.config and ours is not plain:
                found[ours.id, plain.id] = None
    return list(found)


@pytest.mark.parametrize(('ours', 'plain'), pairs())
def test_both_networks_of_a_row_are_trained_alike(ours, plain):
    mine, theirs = (dict(recipes_of(row)) for row in (ours, plain))
    imagenet = [steps.get('train on ImageNet') for steps in (mine, theirs)]
    train = [dict(steps['train']) for steps in (mine, theirs)]
    if all(imagenet):
        # Each starts from its own of two trainings that are alike.
        assert imagenet[0] == imagenet[1]
        starts = [recipe.pop('start') for recipe in train]
        assert all(start.startswith('work_dirs/') for start in starts)
    assert imagenet[0] == imagenet[1]
    assert train[0] == train[1]
