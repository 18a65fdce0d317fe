"""Convolutions to train and ship. They need torch alone."""

from mmic.layers.ic_conv import ICConv2d
from mmic.layers.ps_conv import PSConv2d

__all__ = ['ICConv2d', 'PSConv2d']
