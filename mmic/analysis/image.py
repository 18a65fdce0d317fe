"""The image that a network takes, where none is at hand."""

from typing import Any

from torch import nn


def image_channels(model: nn.Module) -> int:
    """Number of channels of the images that a network takes.

    Args:
        model (nn.Module): A detector, classifier, pose estimator, segmentor or backbone.

    Returns:
        int: ``in_channels`` of its first two-dimensional convolution, that of the backbone where
        it has one; of a network without any, the number of means of its data preprocessor; 3
        where neither tells.
    """
    backbone = getattr(model, 'backbone', None)
    for module in (backbone if isinstance(backbone, nn.Module) else model).modules():
        # The stem of YOLOX: every 2x2 pixels become one of four times the channels.
        pixels = 4 if type(module).__name__ == 'Focus' else 1
        for layer in module.modules() if pixels > 1 else [module]:
            if _is_conv2d(layer):
                return layer.in_channels // pixels
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    return 3 if mean is None else mean.numel()


def _is_conv2d(module: Any) -> bool:
    """Whether this is a convolution, of torch, mmic or others, over height and width."""
    size = getattr(module, 'kernel_size', None)
    return isinstance(size, tuple) and len(size) == 2 and hasattr(module, 'in_channels')
