"""Registered models. Those on top of a host package say so when it is missing."""

from mmic.layers import ICConv2d
from mmic.models.backbones import ICMobileNetV2, ICResNet, ICResNeXt
from mmic.models.builders import build_searched, build_supernet
from mmic.registry import MODELS, register

register(MODELS)(ICConv2d)

__all__ = ['ICMobileNetV2', 'ICResNeXt', 'ICResNet', 'build_searched', 'build_supernet']
