"""Scores of paths through a supernet, on held-out images."""

import torch
from mmengine.dist import get_dist_info
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmic.datasets import check_disjoint
from mmic.datasets.coco_split import draw
from mmic.engine.loops import image_paths
from mmic.engine.recalibrate import BNRecalibration
from mmic.supernet.paths import set_path

# What is scored by when nothing is said: the first that the evaluator computes.
METRICS_BY_DEFAULT = ('coco/bbox_mAP', 'accuracy/top1')
MMDET_COCO = 'mmdet.evaluation.metrics.coco_metric.CocoMetric'


class PathScore:
    """Scores paths of a supernet, image by image if need be.

    The images are dealt into mini-batches, each of which goes through a path of its own; all
    results are pooled and evaluated once, over these images alone (CR-NAS, section 3.3.2). The
    processes of a distributed run share the images. A score depends on the paths, the images
    and how they are dealt, not on what was scored before nor on the number of processes.

    Args:
        model (nn.Module): The supernet, with trained weights, as ``supernet_of_config`` makes it.
        dataloader (dict): Config of the held-out images, ``val_dataloader``. Images that go
            through the network together, at most its ``batch_size``, are of one mini-batch.
        evaluator (dict | list[dict]): Config of the metrics, ``val_evaluator``. mmdet's
            ``CocoMetric`` is replaced by ``SeenCocoMetric``.
        num_batches (int, optional): Mini-batches, c in the paper. Defaults to None: as many as
            the loader has.
        max_images (int, optional): Score this many images, drawn at random. Defaults to None:
            all.
        metric (str, optional): Name of the score among those that the evaluator computes.
            Defaults to None: the first of ``METRICS_BY_DEFAULT`` there is.
        seed (int): Seed of the draw of images. Defaults to 0.
        recalibrate (Callable[[], None], optional): Called after each change of path.

    Attributes:
        dataset (Dataset): The held-out images.
        num_images (int): How many of them are scored.
        num_batches (int): Mini-batches that they are dealt into.

    Raises:
        ValueError: No images, or not enough for ``num_batches`` or ``max_images``.
    """

    def __init__(
        self,
        model,
        dataloader,
        evaluator,
        num_batches=None,
        max_images=None,
        metric=None,
        seed=0,
        recalibrate=None,
    ):
        self.model, self.metric, self.recalibrate = model, metric, recalibrate
        try:
            loader = Runner.build_dataloader(dataloader, seed=seed)
        except ValueError as error:
            # mmengine's data sets join the serialised images when they are built.
            if 'need at least one array' in str(error):
                raise ValueError('val_dataloader: there are no images to score.') from None
            raise
        self.dataset, size = loader.dataset, dataloader['batch_size']
        count = len(self.dataset)
        check_number('max_images', max_images, count, 'the images of val_dataloader')
        images = sorted(draw(range(count), max_images or count, seed))
        check_number('num_batches', num_batches, len(images), 'the images to score')
        self.num_images = len(images)
        self.num_batches = num_batches or -(-len(images) // size)
        rank, world_size = get_dist_info()
        self.share = deal(images, self.num_batches, size)[rank::world_size]
        self.loader = DataLoader(
            self.dataset,
            batch_sampler=[chunk for _, chunk in self.share],
            num_workers=loader.num_workers,
            persistent_workers=loader.persistent_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
        )
        metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
        self.evaluator = Evaluator([seen_only(config) for config in metrics])
        self.evaluator.dataset_meta = getattr(self.dataset, 'metainfo', None)
        for built in self.evaluator.metrics:
            if hasattr(built, 'check_images'):
                infos = (self.dataset.get_data_info(image) for image in images)
                built.check_images([info['img_id'] for info in infos])

    @torch.no_grad()
    def __call__(self, paths):
        """Score paths, all processes together.

        Args:
            paths (Sequence[tuple[int, ...]]): One for each mini-batch.

        Returns:
            float: The same in all processes.

        Raises:
            ValueError: Not ``num_batches`` paths, an impossible one, or an unknown ``metric``.
        """
        if len(paths) != self.num_batches:
            raise ValueError(f'{self.num_batches} mini-batches need a path each, got {len(paths)}.')
        self.model.eval()
        current = None
        for data, (batch, _) in zip(self.loader, self.share):
            if paths[batch] != current:
                current = paths[batch]
                set_path(self.model, current)
                if self.recalibrate:
                    self.recalibrate()
            self.evaluator.process(self.model.val_step(data), data)
        return self._choose(self.evaluator.evaluate(self.num_images))

    def _choose(self, values):
        names = [self.metric] if self.metric else METRICS_BY_DEFAULT
        for name in names:
            if name in values:
                return values[name]
        raise ValueError(
            f'metric: val_evaluator does not compute {" or ".join(names)}; it has '
            f'{", ".join(values)}.'
        )


def deal(images, num_batches, size):
    """Deal images into mini-batches that differ by one image at most.

    Args:
        images (Sequence[int]): Indices in the data set.
        num_batches (int): At most one per image.
        size (int): Images that go through the network together.

    Returns:
        list[tuple[int, list[int]]]: Index of a mini-batch and at most ``size`` images of it, in
        order.
    """
    bounds = [len(images) * batch // num_batches for batch in range(num_batches + 1)]
    return [
        (batch, images[start : min(start + size, bounds[batch + 1])])
        for batch in range(num_batches)
        for start in range(bounds[batch], bounds[batch + 1], size)
    ]


def check_number(name, value, most, what):
    """Raise ValueError unless an optional number is from 1 to ``most``, the number of ``what``."""
    if value is not None and not 1 <= value <= most:
        raise ValueError(f'{name} must be from 1 to {most}, {what}; got {value}.')


def seen_only(config):
    """Return a metric's config, with ``SeenCocoMetric`` in place of mmdet's ``CocoMetric``."""
    kind = config['type']
    if isinstance(kind, str):
        # As METRICS.build looks it up: mmpose has a CocoMetric too.
        with METRICS.switch_scope_and_registry(config.get('_scope_')) as registry:
            kind = registry.get(kind)
    if kind is None or f'{kind.__module__}.{kind.__qualname__}' != MMDET_COCO:
        return config
    from mmic.engine.seen_metric import SeenCocoMetric  # needs mmdet

    return dict(config, type=SeenCocoMetric)


def build_score(model, cfg, bn_recalibrate=0, seed=0, **options):
    """Build the score of a supernet's config, on images that it was not trained on.

    Args:
        model (nn.Module): See ``PathScore``.
        cfg (Config): ``val_dataloader`` and ``val_evaluator`` have the held-out images,
            ``train_dataloader``, if there is one, those that the supernet was trained on.
        bn_recalibrate (int): Training batches to fit batch normalisation statistics to each
            path with. Defaults to 0: the supernet's own statistics.
        seed (int): Defaults to 0.
        **options: Further arguments of ``PathScore``.

    Returns:
        PathScore

    Raises:
        ValueError: The config lacks a loader, the splits share images, or as of ``PathScore``
            and ``BNRecalibration``.
    """
    if not cfg.get('val_dataloader') or not cfg.get('val_evaluator'):
        raise ValueError(f'{cfg.filename} has no val_dataloader and val_evaluator to score with.')
    score = PathScore(model, cfg.val_dataloader, cfg.val_evaluator, seed=seed, **options)
    if cfg.get('train_dataloader'):
        training = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
        check_disjoint(
            image_paths(training.dataset),
            image_paths(score.dataset),
            'train_dataloader',
            'val_dataloader (held out)',
        )
        if bn_recalibrate:
            score.recalibrate = BNRecalibration(model, training, bn_recalibrate, seed)
    elif bn_recalibrate:
        raise ValueError(f'bn_recalibrate: {cfg.filename} has no train_dataloader.')
    return score
