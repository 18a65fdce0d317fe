"""Registered models. Those on top of a host package say so when it is missing."""

from mmic.models.backbones import ICMobileNetV2, ICResNet, ICResNeXt, PSResNet, PSResNeXt
from mmic.models.builders import build_searched, build_supernet
from mmic.models.convs import build_swapped

__all__ = [
    'ICMobileNetV2',
    'ICResNeXt',
    'ICResNet',
    'PSResNeXt',
    'PSResNet',
    'build_searched',
    'build_supernet',
    'build_swapped',
]
