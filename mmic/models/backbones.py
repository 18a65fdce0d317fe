"""Backbones on top of mmdet's own classes, which they change in their constructors.

In the constructor, since the Runner wraps the model and builds the optimizer before any hook
runs.
"""

from mmic.models.convs import to_swapped
from mmic.models.cr_nas import CRMixin, CRMobileNetMixin
from mmic.models.inception import to_searched, to_supernet
from mmic.models.nats import NATSMixin
from mmic.models.selection import is_3x3
from mmic.registry import MODELS, register

HOST_NEEDED = (
    '{name} is built on {host}, which cannot be imported here ({reason}). '
    'Install it with `pip install {package}`, or `mim install {host}`.'
)
PACKAGES = {'mmdet': 'onedl-mmdetection', 'mmpretrain': 'onedl-mmpretrain'}


def is_3x3_after_stem(name, conv):
    """All 3x3 convolutions but the stem's (ResNet's ``deep_stem``, MobileNetV2's ``conv1``)."""
    return is_3x3(name, conv) and not name.startswith(('stem.', 'conv1'))


class InceptionMixin:
    """Makes a backbone an EDO supernet or a searched network in its constructor.

    Args:
        d_max (int, optional): Build the supernet: every 3x3 kernel becomes ``2 d_max + 1``
            wide (paper: 4, that is 9x9; 6 for pose). Weights are random over the whole kernel
            until a checkpoint is loaded.
        pattern (str | Path | DilationPattern, optional): Build the searched network from a
            pattern file, of mmic or of the paper's authors.
        search_stem (bool): Whether a stem made of 3x3 convolutions is searched too. Defaults
            to True.
        part (str, optional): Regular expression: take these layers of the pattern alone, for a
            backbone with fewer stages than the searched one. Defaults to None: all of them.
        *args, **kwargs: Of the mmdet class.

    Raises:
        ValueError: Both or neither of ``d_max`` and ``pattern`` are given, or a 3x3 convolution
            of the supernet has a dilation already.
        PatternError: The pattern is broken or is another network's.
    """

    def __init__(self, *args, d_max=None, pattern=None, search_stem=True, part=None, **kwargs):
        if (d_max is None) == (pattern is None):
            raise ValueError(
                f'{type(self).__name__} takes exactly one of d_max (the supernet) and pattern '
                f'(the searched network), got d_max={d_max!r} and pattern={pattern!r}.'
            )
        super().__init__(*args, **kwargs)
        rule = is_3x3 if search_stem else is_3x3_after_stem
        if pattern is None:
            to_supernet(self, d_max, rule)
        else:
            to_searched(self, pattern, rule, part)


class PolyScaleMixin:
    """Makes all 3x3 convolutions of a backbone PSConv in its constructor.

    Args:
        pattern (Sequence[int]): The cycle of dilations. Defaults to (1, 2, 1, 4).
        axes (str): See ``mmic.layers.PSConv2d``. Defaults to ``'both'``.
        *args, **kwargs: Of the mmdet class.

    Raises:
        PatternError: An impossible pattern, or one that a layer is too narrow for; the message
            names the layer.
    """

    def __init__(self, *args, pattern=(1, 2, 1, 4), axes='both', **kwargs):
        super().__init__(*args, **kwargs)
        to_swapped(self, dict(type='PSConv2d', pattern=pattern, axes=axes))


def needs_host(name, reason, host='mmdet'):
    """What stands in the registry for a backbone whose host package is missing."""

    def build(*args, **kwargs):
        package = PACKAGES[host]
        raise ImportError(HOST_NEEDED.format(name=name, host=host, reason=reason, package=package))

    build.__name__ = name
    return build


NAMES = (
    'ICResNet',
    'ICResNeXt',
    'ICMobileNetV2',
    'PSResNet',
    'PSResNeXt',
    'NATSResNet',
    'NATSResNeXt',
    'CRResNet',
    'CRResNeXt',
    'CRMobileNetV2',
)

try:
    from mmdet.models.backbones import MobileNetV2, ResNet, ResNeXt
# mmdet asserts on mmcv's version while it is imported.
except (ImportError, AssertionError) as error:
    globals().update({name: needs_host(name, error) for name in NAMES})
else:

    class ICResNet(InceptionMixin, ResNet):
        """mmdet's ResNet with Inception Convolution, or its EDO supernet."""

    class ICResNeXt(InceptionMixin, ResNeXt):
        """mmdet's ResNeXt with Inception Convolution, or its EDO supernet."""

    class ICMobileNetV2(InceptionMixin, MobileNetV2):
        """mmdet's MobileNetV2 with Inception Convolution, or its EDO supernet."""

    class PSResNet(PolyScaleMixin, ResNet):
        """mmdet's ResNet with PSConv."""

    class PSResNeXt(PolyScaleMixin, ResNeXt):
        """mmdet's ResNeXt with PSConv."""

    class NATSResNet(NATSMixin, ResNet):
        """mmdet's ResNet as a NATS supernet, or with the dilations that NATS chose."""

    class NATSResNeXt(NATSMixin, ResNeXt):
        """mmdet's ResNeXt as a NATS supernet, or with the dilations that NATS chose."""

    class CRResNet(CRMixin, ResNet):
        """mmdet's ResNet with CR-NAS's blocks per stage and dilations, or its supernets."""

    class CRResNeXt(CRMixin, ResNeXt):
        """mmdet's ResNeXt with CR-NAS's blocks per stage and dilations, or its supernets."""

    class CRMobileNetV2(CRMobileNetMixin, MobileNetV2):
        """mmdet's MobileNetV2 with CR-NAS's blocks per stage and dilations, or its supernets."""


for name in NAMES:
    register(MODELS)(globals()[name])
