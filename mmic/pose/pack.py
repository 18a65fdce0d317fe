"""Packs an image at several sizes as one sample."""

from mmpose.datasets.transforms import PackPoseInputs
from mmpose.datasets.transforms.formatting import image_to_tensor

from mmic.registry import TRANSFORMS, register

META_KEYS = (
    'id',
    'img_id',
    'img_path',
    'crowd_index',
    'ori_shape',
    'img_shape',
    'input_size',
    'input_center',
    'input_scale',
    'flip',
    'flip_direction',
    'flip_indices',
    'raw_ann_info',
    'skeleton_links',
    'aug_scales',
)


@register(TRANSFORMS)
class PackPyramidInputs(PackPoseInputs):
    """MMPose's ``PackPoseInputs`` that takes the images of a pyramid, and packs its scales.

    ``inputs`` is then a list of tensors (3, H, W), the image at scale 1 first. A single image is
    packed as MMPose packs it.

    Args:
        meta_keys (Sequence[str]): What is kept with a sample. Defaults to the keys that
            MMPose's bottom-up configs name, and ``aug_scales``.
        **kwargs: Of MMPose's class.
    """

    def __init__(self, meta_keys=META_KEYS, **kwargs):
        super().__init__(meta_keys, **kwargs)

    def transform(self, results):
        """Pack a sample; see MMPose's."""
        images = results['img']
        if not isinstance(images, list):
            return super().transform(results)
        packed = super().transform({**results, 'img': images[0]})
        return {**packed, 'inputs': [image_to_tensor(image) for image in images]}
