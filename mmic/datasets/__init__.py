"""Data: the generated toy task."""

from mmic.datasets.toy import make_toy_coco

__all__ = ['make_toy_coco']
