"""Bottom-up pose estimation with associative embedding, on top of MMPose.

Newell et al., "Associative Embedding: End-to-End Learning for Joint Detection and Grouping",
NeurIPS 2017. MMPose 1.x tests it at one scale and cannot train it; what is missing is here.

Imported when one of its classes is built, or by configs:
``custom_imports = dict(imports=['mmic', 'mmic.pose'])``; that also makes the codec known, in a
registry of MMPose's that has no scopes.
"""

try:
    import mmpose.models  # noqa: F401
# mmpose asserts on mmcv's version while it is imported.
except (ImportError, AssertionError) as error:
    raise ImportError(
        f'mmic.pose is built on mmpose, which cannot be imported here ({error}). '
        'Install it with `mim install mmpose`.'
    ) from error

from mmic.pose.codec import TrainableAssociativeEmbedding
from mmic.pose.crowd_mask import CrowdHeatmapMask
from mmic.pose.estimator import AEPoseEstimator
from mmic.pose.head import TrainableAssociativeEmbeddingHead
from mmic.pose.keypoint_loss import MaskedKeypointMSELoss
from mmic.pose.pack import PackPyramidInputs
from mmic.pose.preprocessor import PyramidDataPreprocessor
from mmic.pose.resize import PyramidResize
from mmic.pose.tag_loss import MeanAssociativeEmbeddingLoss

__all__ = [
    'AEPoseEstimator',
    'CrowdHeatmapMask',
    'MaskedKeypointMSELoss',
    'MeanAssociativeEmbeddingLoss',
    'PackPyramidInputs',
    'PyramidDataPreprocessor',
    'PyramidResize',
    'TrainableAssociativeEmbedding',
    'TrainableAssociativeEmbeddingHead',
]
