"""Registered models. Those on top of a host package say so when it is missing."""

from mmic.models.backbones import (
    CRMobileNetV2,
    CRResNet,
    CRResNeXt,
    ICMobileNetV2,
    ICResNet,
    ICResNeXt,
    NATSResNet,
    NATSResNeXt,
    PSResNet,
    PSResNeXt,
)
from mmic.models.builders import build_searched, build_supernet
from mmic.models.convs import build_swapped

__all__ = [
    'CRMobileNetV2',
    'CRResNeXt',
    'CRResNet',
    'ICMobileNetV2',
    'ICResNeXt',
    'ICResNet',
    'NATSResNeXt',
    'NATSResNet',
    'PSResNeXt',
    'PSResNet',
    'build_searched',
    'build_supernet',
    'build_swapped',
]
