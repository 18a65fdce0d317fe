"""Testing at several scales: the images, the maps they give, and the poses."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmengine.runner import Runner

pytest.importorskip('mmpose', reason='mmic.pose is built on mmpose')

from mmic.pose import PyramidResize

FLIPPED = [0, 1, 4, 3, 2]  # right and left change places


@pytest.fixture(scope='module')
def cfg(pose_config):
    cfg = Config.fromfile(pose_config)
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.fixture(scope='module')
def weights(cfg):
    """Random weights whose maps vary and are above the threshold of detection in places."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model)).eval()
    torch.nn.init.normal_(model.head.final_layer.weight, std=0.5)
    torch.nn.init.constant_(model.head.final_layer.bias, 0.5)
    return model.state_dict()


def build(cfg, weights, scales=None, **test_cfg):
    """An estimator in test mode, and a batch for it with the scales beside 1."""
    cfg = copy.deepcopy(cfg)
    if scales is not None:
        cfg.val_dataloader.dataset.pipeline[1].aug_scales = scales
        test_cfg['multiscale_test'] = True
    cfg.model.test_cfg.update(test_cfg, output_heatmaps=True)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(weights)
    return model, next(iter(Runner.build_dataloader(cfg.val_dataloader)))


@torch.no_grad()
def predict(model, batch):
    return model.test_step(batch)[0]


@pytest.mark.parametrize('flip', [False, True])
def test_scale_1_alone_is_the_single_scale_test(cfg, weights, flip):
    single = predict(*build(cfg, weights, flip_test=flip))
    several = predict(*build(cfg, weights, [1.0], flip_test=flip))
    torch.testing.assert_close(several.pred_fields.heatmaps, single.pred_fields.heatmaps)
    torch.testing.assert_close(several.pred_fields.tags, single.pred_fields.tags)
    assert len(single.pred_instances) > 0
    for key in ('keypoints', 'keypoint_scores', 'bbox_scores'):
        np.testing.assert_allclose(several.pred_instances[key], single.pred_instances[key])


@pytest.mark.parametrize('restore', [False, True])
@pytest.mark.parametrize('flip', [False, True])
def test_maps_are_the_means_over_scales_and_flips(cfg, weights, flip, restore):
    if not restore:
        cfg = copy.deepcopy(cfg)
        cfg.model.head.decoder.heatmap_size = (48, 48)
    options = dict(flip_test=flip, restore_heatmap_size=restore)
    model, batch = build(cfg, weights, [0.5, 1.5], **options)
    found = predict(model, batch)
    assert [tuple(images[0].shape) for images in batch['inputs']] == [
        (3, 192, 192),
        (3, 96, 96),
        (3, 288, 288),
    ]
    size = (192, 192) if restore else (48, 48)
    total, tags, number = 0, [], 0
    for level, images in enumerate(batch['inputs']):
        # BGR to RGB, then the mean and the deviation of the config.
        pixels = (images[0].flip(0).float()[None] - 127) / 64
        for turn in range(1 + flip):
            with torch.no_grad():
                features = model.backbone(pixels.flip(-1) if turn else pixels)[-1]
                maps = model.head.final_layer(model.head.deconv_layers(features))[0]
            heatmaps, embeddings = maps[:5], maps[5:]
            if turn:
                heatmaps, embeddings = heatmaps[FLIPPED].flip(-1), embeddings[FLIPPED].flip(-1)
            heatmaps, embeddings = (
                F.interpolate(part[None], size, mode='bilinear', align_corners=False)[0]
                for part in (heatmaps, embeddings)
            )
            total, number = total + heatmaps, number + 1
            tags += [embeddings] if level == 0 else []
    torch.testing.assert_close(found.pred_fields.heatmaps, total / number)
    torch.testing.assert_close(found.pred_fields.tags, torch.cat(tags))


def test_without_flip_a_map_is_decoded_at_the_size_it_was_restored_to(cfg, weights):
    """A single bright pixel of the map comes out as the same place of the image."""
    model, batch = build(cfg, weights, flip_test=False)
    row, column = 20, 33
    maps = torch.zeros(1, 10, 48, 48)
    maps[:, :5, row, column] = 1
    model.head.forward = lambda features: (maps[:, :5], maps[:, 5:])
    person = predict(model, batch).pred_instances[0]
    # Pixels of the map are 4 wide; refining moves by a quarter of one of the image.
    expected = np.array([column + 0.5, row + 0.5]) * 4
    assert np.abs(person.keypoints[0] - expected).max() < 1


# The images


@pytest.mark.parametrize(('width', 'height'), [(150, 110), (110, 150), (128, 128), (200, 170)])
@pytest.mark.parametrize('mode', ['expand', 'fit'])
def test_all_scales_show_the_same_place_of_the_image(width, height, mode):
    scales = [0.5, 2.0]
    resize = PyramidResize(
        input_size=(128, 128), aug_scales=scales, size_factor=64, resize_mode=mode
    )
    xs, ys = np.meshgrid(np.arange(width), np.arange(height))
    # Coordinates as colours, so that a pixel says where it is from.
    image = np.stack([xs / width, ys / height, np.ones_like(xs)], -1).astype(np.float32)
    results = resize(dict(img=image, ori_shape=(height, width)))
    first, *others = results['img']
    assert results['input_size'] == first.shape[1::-1]
    for scale, other in zip(scales, others):
        assert other.shape[:2] == tuple(side * scale for side in first.shape[:2])
        for y, x in [(40, 44), (64, 64), (70, 90), (88, 50)]:
            here, there = first[y, x], other[int(y * scale), int(x * scale)]
            assert here[2] == there[2] == 1, 'padding'
            np.testing.assert_allclose(there, here, atol=0.01)


@pytest.mark.parametrize('scale', [0.25, 0.7, 0, -1])
def test_scale_that_does_not_fit_the_backbone_is_refused(scale):
    with pytest.raises(ValueError, match=r'size_factor 64 times the test scale .* multiple of 32'):
        PyramidResize(input_size=(128, 128), aug_scales=[2, scale], size_factor=64)


def test_single_image_is_packed_as_mmpose_packs_it(cfg):
    results = dict(img=np.arange(60, dtype=np.uint8).reshape(4, 5, 3), img_id=3, aug_scale=None)
    ours = TRANSFORMS.build(dict(type='PackPyramidInputs'))(dict(results))
    theirs = TRANSFORMS.build(dict(type='PackPoseInputs', _scope_='mmpose'))(dict(results))
    assert torch.equal(ours['inputs'], theirs['inputs'])
    assert ours['data_samples'].metainfo == theirs['data_samples'].metainfo == dict(img_id=3)


def test_shapes_of_a_sample_are_those_of_scale_1(cfg, weights):
    model, batch = build(cfg, weights, [0.5, 1.5])
    data = model.data_preprocessor(batch)
    assert [tuple(images.shape) for images in data['inputs']] == [
        (1, 3, 192, 192),
        (1, 3, 96, 96),
        (1, 3, 288, 288),
    ]
    assert data['data_samples'][0].batch_input_shape == (192, 192)


# Settings that do not go together


@pytest.mark.parametrize('several', [False, True])
def test_pipeline_and_model_that_disagree_are_refused(cfg, weights, several):
    model, batch = build(cfg, weights, [0.5] if several else None)
    model.test_cfg.multiscale_test = not several
    with pytest.raises(ValueError, match=f'multiscale_test is {not several}, but the data'):
        predict(model, batch)


def test_images_of_different_sizes_in_a_batch_are_refused(cfg, weights):
    model, batch = build(cfg, weights)
    sample = batch['data_samples'][0]
    other = copy.deepcopy(sample)
    other.set_metainfo(dict(img_shape=(192, 256)))
    images = [batch['inputs'][0]] * 2
    with pytest.raises(ValueError, match=r'\(192, 192\), \(192, 256\).*batch_size to 1'):
        predict(model, dict(inputs=images, data_samples=[sample, other]))
