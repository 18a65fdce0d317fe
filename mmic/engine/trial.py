"""A config made small enough to try: generated data, small images, a short schedule."""

import copy
import re
from math import ceil

from mmic.engine.config_walk import config_nodes, map_leaves
from mmic.engine.trial_images import shrink_images
from mmic.engine.trial_schedule import shorten_schedule

# Boxes per image: what a trial keeps at most of proposals, detections, and samples.
BOXES = {'nms_pre': 100, 'max_per_img': 20, 'num': 16}
MAX_BATCH = 2
DATA_PATH = re.compile(r'(\./)?data/(?=.)')
# Data sets that refuse files by their checksums, and what reads generated ones in their place.
GENERATED = {name: f'Generated{name}' for name in ('CIFAR10', 'CIFAR100')}
GENERATED_MODULE = 'mmic.datasets.generated'


def data_formats(cfg):
    """Which data sets a config reads: the first folder below ``data/`` of each path in it.

    Args:
        cfg (Config): Of a training.

    Returns:
        set[str]: ``{'coco'}`` for example.
    """
    found = set()

    def note(value):
        start = DATA_PATH.match(value) if isinstance(value, str) else None
        if start:
            found.add(value[start.end() :].partition('/')[0])

    for name in ('dataloader', 'evaluator', 'cfg'):
        for stage in ('train', 'val', 'test'):
            # A search's second data loader is in train_cfg.
            map_leaves(cfg.get(f'{stage}_{name}'), note)
    return found


def trial_config(cfg, data_root, num_train=8, epochs=1, max_size=128):
    """Return a copy of a config for a trial on generated data.

    The network, the losses, the optimizer and the metrics stay what they are. Weights that would
    have to be fetched are left out, so that networks start from random ones; checkpoints named by
    a path are kept. SyncBN is left to mmengine, which turns it into BN in a single process.
    Detectors get fewer proposals, and keep detections of any score.

    Args:
        cfg (Config): Of a training, of any host package.
        data_root (str | Path): Folder that is laid out as ``data/`` and takes its place.
        num_train (int): Images in an epoch, at most; parts of a concatenated data set give equal
            shares. Defaults to 8.
        epochs (int): Length of the training, for which the schedule is shortened in proportion;
            of one that counts iterations, as many passes over ``num_train`` images. Defaults to 1.
        max_size (int): The largest of all image sides in the config, in pixels; the others
            shrink in proportion, none grows. Defaults to 128.

    Returns:
        Config: It evaluates, and writes a checkpoint, at the end; it loads data in the process
        itself, at most 2 images at a time, and logs every iteration.

    Raises:
        ValueError: ``num_train``, ``epochs`` or ``max_size`` is below 1.
    """
    for name, value in dict(num_train=num_train, epochs=epochs, max_size=max_size).items():
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}.')
    cfg = copy.deepcopy(cfg)
    move_data(cfg, data_root)
    drop_weights(cfg, lambda checkpoint: '://' in checkpoint)
    shrink_images(cfg, max_size)
    limit_boxes(cfg.model)
    limit_loaders(cfg, num_train)
    shorten_schedule(cfg, epochs, ceil(num_train / cfg.train_dataloader.batch_size))
    return cfg


def move_data(cfg, data_root):
    """Let all paths below ``data/`` be below another folder, and generated data be read, in place.

    Args:
        cfg (Config): Of a training.
        data_root (str | Path): The other folder.
    """
    start = f'{str(data_root).rstrip("/")}/'

    def move(value):
        return DATA_PATH.sub(lambda _: start, value, count=1) if isinstance(value, str) else value

    for key, value in list(cfg.items()):
        cfg[key] = map_leaves(value, move)
    for node in config_nodes(*loaders(cfg)):
        kind = str(node.get('type')).rpartition('.')[2]
        if kind in GENERATED:
            node['type'] = GENERATED[kind]
            imports = (cfg.get('custom_imports') or {}).get('imports', [])
            imports = list(dict.fromkeys([*imports, GENERATED_MODULE]))
            cfg.custom_imports = dict(imports=imports, allow_failed_imports=False)


def drop_weights(cfg, unwanted):
    """Have no weights read from the checkpoints for which ``unwanted(checkpoint)``, in place.

    A part without them that keeps the running statistics of its norms (``norm_eval``) lets them
    follow: those of random weights are means of 0 and variances of 1, under which a deep network's
    values grow from block to block.
    """
    for node in config_nodes(cfg._cfg_dict):
        for key, value in node.items():
            if isinstance(value, dict) and value.get('type') == 'Pretrained':
                checkpoint = value['checkpoint']
            else:
                checkpoint = value if key in ('pretrained', 'load_from') else None
            if isinstance(checkpoint, str) and unwanted(checkpoint):
                node[key] = None
                if node.get('norm_eval'):
                    node['norm_eval'] = False


def limit_boxes(model):
    """Let a detector work on few boxes and keep the best ones whatever their score, in place."""
    for node in config_nodes(model):
        for key, most in BOXES.items():
            if isinstance(node.get(key), int):
                node[key] = min(node[key], most)
        if 'score_thr' in node:
            # Networks that are hardly trained are never sure, and metrics want something to rate.
            node['score_thr'] = 0.0


def limit_loaders(cfg, num_train):
    """Give all loaders small batches and no workers, those of training few images, in place."""
    for loader in loaders(cfg):
        loader.update(batch_size=min(loader.batch_size, MAX_BATCH), num_workers=0)
        for key in ('persistent_workers', 'prefetch_factor'):  # of workers
            loader.pop(key, None)
    for loader in loaders(cfg, ('train',)):
        # Not those that wrap others.
        nodes = config_nodes(loader.dataset)
        sets = [node for node in nodes if not {'dataset', 'datasets'} & set(node)]
        sets = [node for node in sets if 'pipeline' in node]
        for node in sets:
            node['indices'] = ceil(num_train / len(sets))


def loaders(cfg, stages=('train', 'val', 'test')):
    """The data loaders of a config; a search's second one is among those of training."""
    found = [cfg.get(f'{stage}_dataloader') for stage in stages]
    found.append((cfg.get('train_cfg') or {}).get('alpha_dataloader'))
    return [loader for loader in found if loader]
