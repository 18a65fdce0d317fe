"""Convolutions to train and ship. They need torch alone."""

from mmic.layers.do_conv import DOConv2d
from mmic.layers.ic_conv import ICConv2d
from mmic.layers.masked_ps_conv import MaskedPSConv2d
from mmic.layers.ps_conv import PSConv2d

__all__ = ['DOConv2d', 'ICConv2d', 'MaskedPSConv2d', 'PSConv2d']
