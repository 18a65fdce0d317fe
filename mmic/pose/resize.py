"""The images of a pyramid, each an exact multiple of the first."""

from mmpose.datasets.transforms import BottomupResize

from mmic.registry import TRANSFORMS, register

# Of ResNet's last stage. A head of three deconvolutions returns a map of a quarter of the image
# for multiples of it only.
BACKBONE_STRIDE = 32


@register(TRANSFORMS)
class PyramidResize(BottomupResize):
    """MMPose's ``BottomupResize`` that pads all scales in proportion.

    MMPose rounds each scale's sides up on its own. The images then have borders of different
    relative width, and their heatmaps do not lie on each other: by up to 16 of 896 pixels for an
    image of 640 by 480 at input 640 with ``size_factor`` 64.

    Args:
        *args, **kwargs: Of MMPose's class. ``size_factor`` times each of ``aug_scales`` must be
            a multiple of 32, the stride of the backbone.

    Raises:
        ValueError: It is not.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for scale in self.aug_scales or []:
            if scale <= 0 or self.size_factor * scale % BACKBONE_STRIDE:
                raise ValueError(
                    f'size_factor {self.size_factor} times the test scale {scale} must be a '
                    f'multiple of {BACKBONE_STRIDE}, the stride of the backbone, got '
                    f'{self.size_factor * scale}.'
                )

    def _get_input_size(self, img_size, input_size):
        scale = input_size[0] / self.input_size[0]
        image, padded = super()._get_input_size(img_size, self.input_size)
        return tuple(side * scale for side in image), tuple(round(side * scale) for side in padded)
