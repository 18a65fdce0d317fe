"""The papers' classification networks that MMPretrain lacks, under their config names."""

from mmic.models.backbones import needs_host
from mmic.registry import MODELS, register

__all__ = [
    'CIFARPlainNet',
    'CIFARPreActResNet',
    'CIFARResNeXt',
    'CIFARResNet',
    'MobileNetV1',
    'PlainNet',
    'PreActResNet',
]

try:
    import mmpretrain.models.backbones  # noqa: F401
# mmpretrain asserts on mmcv's version while it is imported.
except (ImportError, AssertionError) as error:
    globals().update({name: needs_host(name, error, 'mmpretrain') for name in __all__})
else:
    from mmic.models.cifar import CIFARPlainNet, CIFARPreActResNet, CIFARResNet, CIFARResNeXt
    from mmic.models.mobilenet_v1 import MobileNetV1
    from mmic.models.preact_resnet import PlainNet, PreActResNet

for name in __all__:
    register(MODELS)(globals()[name])
