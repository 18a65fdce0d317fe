"""Targets and decoder fit each other."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmpose', reason='mmic.pose is built on mmpose')

from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement

from mmic.pose import TrainableAssociativeEmbedding, TrainableAssociativeEmbeddingHead

SIDE, STRIDE, KEYPOINTS = 192, 4, 5
ARGUMENTS = dict(input_size=(SIDE, SIDE), sigma=2, decode_center_shift=0.5)
ARGUMENTS['decode_keypoint_order'] = list(range(KEYPOINTS))


def codec(**changes):
    size = (SIDE // STRIDE, SIDE // STRIDE)
    return TrainableAssociativeEmbedding(**{**ARGUMENTS, 'heatmap_size': size, **changes})


def test_positions_are_the_pixels_that_hold_the_keypoints():
    keypoints = np.array([[[0.0, 0.0], [3.9, 4.0], [191.0, 191.9], [192.0, 5.0], [9.0, -5.0]]])
    encoded = codec().encode(keypoints, np.ones((1, KEYPOINTS)))
    width = SIDE // STRIDE
    # The last two lie outside of the image.
    assert encoded['keypoint_indices'][0, :, 1].tolist() == [1, 1, 1, 0, 0]
    assert encoded['keypoint_indices'][0, :3, 0].tolist() == [0, width, width * width - 1]
    for keypoint in range(3):
        position = encoded['heatmaps'][keypoint].argmax()
        assert position == encoded['keypoint_indices'][0, keypoint, 0]


def test_flipped_keypoints_have_the_flipped_maps():
    keypoints = np.random.default_rng(0).integers(0, SIDE, (3, KEYPOINTS, 2)).astype(np.float32)
    flipped = keypoints.copy()
    flipped[..., 0] = SIDE - 1 - keypoints[..., 0]
    visible = np.ones((3, KEYPOINTS))
    maps, others = (codec().encode(points, visible)['heatmaps'] for points in (keypoints, flipped))
    np.testing.assert_array_equal(others[..., ::-1], maps)


def test_decoding_the_targets_returns_the_keypoints_without_bias():
    init_default_scope('mmpose')
    decoder = dict(ARGUMENTS, type='TrainableAssociativeEmbedding', heatmap_size=(SIDE, SIDE))
    head = TrainableAssociativeEmbeddingHead(
        in_channels=1, num_keypoints=KEYPOINTS, deconv_out_channels=None, decoder=decoder
    )
    sample = BaseDataElement(metainfo=dict(img_shape=(SIDE, SIDE)))
    random = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        keypoints = random.uniform(12, SIDE - 12, (1, KEYPOINTS, 2)).astype(np.float32)
        encoded = codec().encode(keypoints, np.ones((1, KEYPOINTS)))
        maps = torch.from_numpy(encoded['heatmaps'])[None]
        head.forward = lambda features: (features, torch.zeros_like(features))
        (found,) = head.predict(maps, [sample], dict(restore_heatmap_size=True))
        assert len(found) == 1
        errors.append(found.keypoints[0] - keypoints[0])
    errors = np.concatenate(errors)
    # Half of a pixel of the map is 2 wide; the mean of 200 errors has a deviation of 0.08.
    assert np.abs(errors).max() < 2.5
    assert np.abs(errors.mean(0)).max() < 0.3
