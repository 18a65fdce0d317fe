"""Data: the generated toy task, and splits of COCO for searches."""

from mmic.datasets.coco_file import check_disjoint
from mmic.datasets.coco_split import split_holdout, split_nats
from mmic.datasets.toy import make_toy_coco

__all__ = ['check_disjoint', 'make_toy_coco', 'split_holdout', 'split_nats']
