"""Convolutions to search with. They need torch and mmengine."""

from mmic.supernet.wide_conv import WideConv2d

__all__ = ['WideConv2d']
