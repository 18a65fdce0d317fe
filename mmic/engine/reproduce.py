"""From a printed result to the commands that lead to it."""

import copy
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config

from mmic.engine.config import default_work_dir
from mmic.engine.config_walk import config_nodes
from mmic.engine.row_options import option_words, read_options
from mmic.engine.rows import ROOT, Row, find_row, resolve

ANNOTATIONS = 'data/coco/annotations'
SPLITS = {
    'nats': (
        *('nats', '--train', f'{ANNOTATIONS}/instances_train2017.json'),
        *('--val', f'{ANNOTATIONS}/instances_val2014.json'),
        *('--minival', f'{ANNOTATIONS}/instances_val2017.json', '--out-dir', ANNOTATIONS),
    ),
    'cr': (
        *('holdout', f'{ANNOTATIONS}/instances_train2017.json', '--num', '5000'),
        *('--names', 'archtrain', 'archval', '--out-dir', ANNOTATIONS),
        *('--minival', f'{ANNOTATIONS}/instances_val2017.json'),
    ),
}
SPLIT_FILES = {
    'nats': (f'{ANNOTATIONS}/nats_weights.json', f'{ANNOTATIONS}/nats_alpha.json'),
    'cr': (f'{ANNOTATIONS}/archtrain.json', f'{ANNOTATIONS}/archval.json'),
}
# Name of the step that trains a network on ImageNet, before it is a detector's backbone.
PRETRAIN = 'train on ImageNet'


@dataclass(frozen=True)
class Step:
    """One command of a chain.

    Attributes:
        name (str): What it does.
        command (tuple[str]): Script and arguments, for ``python``, from the repository's root.
        config (str | None): The config that it reads, below ``configs/``.
        writes (tuple[str]): Files that later steps read: a last checkpoint, a pattern, splits.
    """

    name: str
    command: Tuple[str, ...]
    config: Optional[str] = None
    writes: Tuple[str, ...] = ()


@functools.lru_cache(maxsize=None)
def load_config(name):
    """Load a config below ``configs/``, without the imports that building it needs."""
    return Config.fromfile(ROOT / 'configs' / name, import_custom_modules=False)


def config_of(step: Step) -> Config:
    """Return a copy of a step's config with the options of its command, as the command reads it."""
    return _changed_config(step.config, _options_of(step.command))


def last_checkpoint(cfg):
    """Name of the last checkpoint that a training with this config writes."""
    loop = cfg.train_cfg
    return f'epoch_{loop.max_epochs}.pth' if 'max_epochs' in loop else f'iter_{loop.max_iters}.pth'


def steps_of(rows, key, from_plain=False):
    """List the commands that lead to a printed result.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        key (str): Id of the row.
        from_plain (bool): Leave the trainings on ImageNet out: networks start from the published
            weights of the plain ones, as their configs say. Defaults to False, the papers' way.

    Returns:
        list[Step]: In the order in which they have to run, none twice.

    Raises:
        ValueError: There is no such row, it has no config, nothing says where its search writes,
            or no plain network's weights fit and ``from_plain`` asks for them.
    """
    if from_plain:
        without = dict(pretrain=None, supernet_pretrain=None)
        rows = {name: replace(row, **without) for name, row in rows.items()}
    row = resolve(rows, find_row(rows, key))
    if not row.config:
        raise ValueError(f'{row.id}: {row.not_run or "no config yet."}')
    steps, checkpoints = _training(rows, rows[row.weights_of] if row.weights_of else row)
    for checkpoint, options in checkpoints:
        command = ('tools/test.py', f'configs/{row.config}', checkpoint, *_cfg_options(options))
        steps.append(Step('test', command, row.config))
    if from_plain:
        _check_published_starts(row, steps)
    return list(dict.fromkeys(steps))


def inputs_of(steps):
    """What the steps need from outside: ``(data folders, names of weights to fetch)``, sorted."""
    data, weights = set(), set()
    for step in steps:
        if step.config is None:
            continue
        cfg = config_of(step)
        loaders = [cfg.train_dataloader, cfg.test_dataloader]
        data |= {
            node['data_root'].rstrip('/') for node in config_nodes(loaders) if 'data_root' in node
        }
        start = (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint', '')
        if step.command[0] == 'tools/train.py' and '://' in start:
            weights.add(start)
    return sorted(data), sorted(weights)


def _check_published_starts(row, steps):
    for step in steps:
        for _, start in _starts(step.config) if step.config else ():
            if '://' not in start['checkpoint']:
                raise ValueError(
                    f'{row.id}: the weights of no plain network fit configs/{step.config}, which '
                    f'starts from {start["checkpoint"]}; leave --from-plain out.'
                )


def _training(rows, row):
    """Steps up to the trained network; its checkpoints, each with the options of its model."""
    steps, patterns = _search(rows, row)
    options = _pattern_options(row.config, patterns) + _new_options(row.config, row.options)
    start = []
    if row.pretrain:
        # A classifier has the backbone alone.
        backbone = {place: path for place, path in patterns.items() if place == 'backbone'}
        pretrained = _pattern_options(row.pretrain, backbone)
        step, checkpoint = _train(_searcher(rows, row), 'pretrain', row.pretrain, pretrained)
        steps.append(step)
        start = _start_options(row.config, checkpoint)
    checkpoints = []
    for seed in range(row.runs):
        several = row.runs > 1
        part = f'seed_{seed}' if several else 'train'
        run = [f'randomness.seed={seed}'] if several else []
        step, checkpoint = _train(row, part, row.config, [*options, *start, *run])
        steps.append(step)
        checkpoints.append((checkpoint, options))
    return steps, checkpoints


def _search(rows, row):
    """Steps up to the pattern; its files by their place in the model, empty without a search."""
    steps, found = _search(rows, rows[row.pattern_of]) if row.pattern_of else ([], {})
    if not row.search:
        return steps, found
    kind, _, stage = row.search.partition('_')
    if kind in SPLITS:
        split = ('tools/coco_split.py', *SPLITS[kind])
        steps.append(Step('split the data', split, writes=SPLIT_FILES[kind]))
    options = _supernet_options(row, row.supernet, found)
    start = []
    if row.supernet_pretrain:
        pretrained = _supernet_options(row, row.supernet_pretrain, found)
        step, checkpoint = _train(row, 'supernet_pretrain', row.supernet_pretrain, pretrained)
        steps.append(step)
        start = _start_options(row.supernet, checkpoint)
    owner = _first_of_supernet(rows, row)
    step, checkpoint = _train(owner, 'supernet', row.supernet, [*options, *start])
    steps.append(step)
    patterns = {'backbone': row.pattern} if row.pattern else _patterns_read(row.config)
    if not patterns:
        raise ValueError(
            f'{row.id}: configs/{row.config} reads no pattern; the row has to name one'
        )
    for place, path in patterns.items():
        # A checkpoint that holds several searched parts is searched part by part.
        scope = ['--scope', place] if len(patterns) > 1 else []
        command = [f'tools/{kind}_search.py', *([stage] if stage else [])]
        command += [f'configs/{row.supernet}', checkpoint, '--out', path, *scope]
        command += [*row.search_options.split(), *_cfg_options(options)]
        steps.append(Step('search', tuple(command), row.supernet, (path,)))
    return steps, patterns


def _searcher(rows, row):
    """The row that trains a network on ImageNet: the one that found it, for all that use it."""
    found = rows.get(row.pattern_of)
    return found if found and not row.search and found.pretrain == row.pretrain else row


def _first_of_supernet(rows, row):
    """The first row that searches the same supernet: it is trained once."""

    def trained(other):
        start = other.supernet_pretrain, other.pattern_of
        return (other.supernet, other.supernet_options, *start)

    return next(other for other in rows.values() if trained(other) == trained(row))


def _train(row, part, config, options):
    """The step of a training and its last checkpoint.

    Changed configs get the row's folder. Those whose name another method's config has too get
    one by their path, which all rows with the same training share.
    """
    folder = default_work_dir(config)
    if options:
        folder = f'work_dirs/{row.id}/{part}'
    elif len(list((ROOT / 'configs').rglob(Path(config).name))) > 1:
        folder = f'work_dirs/{Path(config).with_suffix("").as_posix()}'
    own = folder != default_work_dir(config)
    changes = [*(('--work-dir', folder) if own else ()), *_cfg_options(options)]
    names = {'train': 'train', 'supernet': 'train the supernet'}
    names.update(pretrain=PRETRAIN, supernet_pretrain='train the supernet on ImageNet')
    checkpoint = f'{folder}/{last_checkpoint(_changed_config(config, options))}'
    command = ('tools/train.py', f'configs/{config}', *changes)
    return Step(names.get(part, 'train'), command, config, (checkpoint,)), checkpoint


def _supernet_options(row: Row, config: str, patterns: Dict[str, str]) -> List[str]:
    return _pattern_options(config, patterns) + _new_options(config, row.supernet_options)


def _new_options(config: str, options: Dict[str, Any]) -> List[str]:
    """Words of the options that change a config.

    What a config has anyway is left out, so that rows share its training.
    """
    words = option_words(options)
    before = load_config(config).to_dict()
    return [word for word in words if _changed_config(config, [word]).to_dict() != before]


def _changed_config(config: str, options: Sequence[str]) -> Config:
    cfg = copy.deepcopy(load_config(config))
    cfg.merge_from_dict(read_options(options))
    return cfg


def _options_of(command: Sequence[str]) -> Sequence[str]:
    """Words behind ``--cfg-options``, which is a command's last flag."""
    return command[command.index('--cfg-options') + 1 :] if '--cfg-options' in command else ()


def _cfg_options(options):
    return ('--cfg-options', *options) if options else ()


def _parts(node, place=''):
    """All dicts in a model's config with their places, outer ones first."""
    yield place, node
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _parts(value, f'{place}.{key}' if place else key)


def _patterns_read(config):
    """Pattern files that a config reads, relative to the repository, by place in the model."""
    return {
        place: Path(node['pattern']).resolve().relative_to(ROOT).as_posix()
        for place, node in _parts(load_config(config).model)
        if str(node.get('pattern')).endswith('.json')
    }


def _starts(config):
    """``init_cfg`` of all parts of a model that start from a checkpoint, with their places."""
    parts = _parts(load_config(config).model)
    starts = [(place, node.get('init_cfg')) for place, node in parts]
    return [(place, start) for place, start in starts if start and 'checkpoint' in start]


def _pattern_options(config, patterns):
    """Options that give a config the patterns that it does not read anyway."""
    # C4's classifier reads the patterns of the detector's two parts in places of its own.
    read = _patterns_read(config).values()
    changed = {place: path for place, path in patterns.items() if path not in read}
    options = [f'model.{place}.pattern={path}' for place, path in changed.items()]
    if options and load_config(config).model.backbone.get('arch'):
        options.insert(0, 'model.backbone.arch=None')
    return options


def _start_options(config: str, checkpoint: str) -> List[str]:
    """Options that start a detector's parts from a classifier's checkpoint.

    ``frozen_stages=0`` in a config lets layer1 adapt to new kernels or dilations under the plain
    network's weights. A network that was trained on ImageNet as it is needs that no more: then
    layer1 is frozen too, as MMDetection does.
    """
    wanted = {'checkpoint': checkpoint, 'prefix': 'backbone.'}
    options = [
        f'model.{place}.init_cfg.{name}={value}'
        for place, given in _starts(config)
        for name, value in wanted.items()
        if given.get(name) != value
    ]
    if load_config(config).model.backbone.get('frozen_stages') == 0:
        options.append('model.backbone.frozen_stages=1')
    return options
