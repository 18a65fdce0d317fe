"""Checkpoints in the forms that the papers' authors publish, turned into mmic's keys.

They need torch alone. Every function takes a state dict and returns a new one; tensors that
have nothing to do with the method are passed on as they are.
"""

from mmic.convert.do_conv import convert_doconv, doconv_kernel
from mmic.convert.ic_conv import convert_ic
from mmic.convert.ps_conv import NonzeroBlocksError, convert_psconv, psconv_layer
from mmic.convert.published import KINDS, published_layers

__all__ = [
    'KINDS',
    'NonzeroBlocksError',
    'convert_doconv',
    'convert_ic',
    'convert_psconv',
    'doconv_kernel',
    'psconv_layer',
    'published_layers',
]
