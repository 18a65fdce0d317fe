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
from mmic.models.classification import (
    CIFARPlainNet,
    CIFARPreActResNet,
    CIFARResNet,
    CIFARResNeXt,
    MobileNetV1,
    PlainNet,
    PreActResNet,
)
from mmic.models.convs import build_swapped
from mmic.models.rfcn import RFCN, RFCNHead, RFCNRoIExtractor, RFCNRPNHead

__all__ = [
    'RFCN',
    'CIFARPlainNet',
    'CIFARPreActResNet',
    'CIFARResNeXt',
    'CIFARResNet',
    'CRMobileNetV2',
    'CRResNeXt',
    'CRResNet',
    'ICMobileNetV2',
    'ICResNeXt',
    'ICResNet',
    'MobileNetV1',
    'NATSResNeXt',
    'NATSResNet',
    'PSResNeXt',
    'PSResNet',
    'PlainNet',
    'PreActResNet',
    'RFCNHead',
    'RFCNRPNHead',
    'RFCNRoIExtractor',
    'build_searched',
    'build_supernet',
    'build_swapped',
]
