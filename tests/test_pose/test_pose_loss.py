"""Training: what is packed for the losses, what they are, and that they reach every parameter."""

import json

import numpy as np
import pytest
import torch
from helpers import ROOT, build_model, call_search, run_python
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

pytest.importorskip('mmpose', reason='mmic.pose is built on mmpose')

from pycocotools import mask as coco_mask
from test_tag_loss import naive as naive_tag_loss

from mmic.layers import ICConv2d
from mmic.pose import CrowdHeatmapMask
from mmic.supernet import WideConv2d


@pytest.fixture(scope='module')
def batch(pose_config):
    """The toy task's eight images, as the data loader gives them."""
    torch.manual_seed(0)
    np.random.seed(0)
    cfg = Config.fromfile(pose_config)
    init_default_scope(cfg.default_scope)
    return next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))


def counts(batch):
    """Of each image, how many people it has and how many of their keypoints are labelled."""
    indices = [sample.gt_instance_labels.keypoint_indices for sample in batch['data_samples']]
    return [(len(index), int(index[..., 1].sum())) for index in indices]


def test_batch_has_several_people_in_an_image_and_missing_keypoints(batch):
    people, labelled = zip(*counts(batch))
    assert min(people) > 1
    assert sum(labelled) < 5 * sum(people)


def test_positions_are_those_of_the_maps_peaks(batch):
    peaks = 0
    for sample in batch['data_samples']:
        for person in sample.gt_instance_labels.keypoint_indices.tolist():
            for keypoint, (position, labelled) in enumerate(person):
                if labelled:
                    assert sample.gt_fields.heatmaps[keypoint].flatten()[position] == 1
                    peaks += 1
    assert peaks > 20


@pytest.mark.parametrize('size', [1, 4, 8])
def test_losses_are_those_of_the_maps(pose_config, batch, size):
    model = build_model(pose_config).train()
    torch.nn.init.normal_(model.head.final_layer.weight, std=0.2)
    part = {name: values[:size] for name, values in batch.items()}
    if size == 1:
        crowded = max(range(8), key=lambda index: counts(batch)[index])
        part = {name: [values[crowded]] for name, values in batch.items()}
        assert counts(part)[0][0] > 1
    data = model.data_preprocessor(part, True)
    losses = model(**data, mode='loss')
    heatmaps, tags = model(data['inputs'], None, mode='tensor')
    error = pixels = 0
    for predicted, sample in zip(heatmaps.detach().double(), part['data_samples']):
        target = sample.gt_fields.heatmaps.double()
        mask = sample.gt_fields.heatmap_mask[0]
        error += ((predicted - target) ** 2)[:, mask].sum().item()
        pixels += target.numel()
    assert losses['loss_kpt'].item() == pytest.approx(error / pixels, rel=1e-5)
    indices = [sample.gt_instance_labels.keypoint_indices for sample in part['data_samples']]
    width = tags.shape[-1]
    assert width == 48
    pull, push = naive_tag_loss(tags.detach().double(), indices, width)
    assert losses['loss_pull'].item() == pytest.approx(0.003 * pull, rel=1e-4)
    assert losses['loss_push'].item() == pytest.approx(0.003 * 0.5 * push, rel=1e-4)


def assert_every_parameter_trains(model, batch):
    data = model.data_preprocessor(batch, True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_supernet_is_searched_and_its_network_trains(pose_config, batch, tmp_path):
    head = f'_base_ = {str(pose_config)!r}\n'
    supernet = tmp_path / 'supernet.py'
    supernet.write_text(head + "model = dict(backbone=dict(type='ICResNet', d_max=2))\n")
    model = build_model(supernet).train()
    assert_every_parameter_trains(model, batch)
    wide = [name for name, m in model.backbone.named_modules() if isinstance(m, WideConv2d)]
    # Two in each of two blocks in each of three stages.
    assert len(wide) == 12
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'supernet.pth')
    dilations, _ = call_search(supernet, tmp_path / 'supernet.pth', tmp_path / 'pattern.json')
    assert set(dilations) == set(wide)
    searched = tmp_path / 'searched.py'
    pattern = (tmp_path / 'pattern.json').as_posix()
    searched.write_text(head + f"model = dict(backbone=dict(type='ICResNet', pattern='{pattern}'))")
    model = build_model(searched).train()
    assert_every_parameter_trains(model, batch)
    for name, module in model.backbone.named_modules():
        if isinstance(module, ICConv2d):
            assert [tuple(pair) for pair in module.dilations.tolist()] == dilations[name]


# The mask


def test_mask_leaves_out_polygons_and_crowds():
    height, width = 20, 30
    expected = np.zeros((height, width), bool)
    expected[2:6, 3:9] = True
    crowd = np.zeros((height, width), np.uint8)
    crowd[10:15, 20:28] = 1
    other = np.zeros((height, width), np.uint8)
    other[16:, :2] = 1
    expected |= (crowd | other) > 0
    # COCO's uncompressed code: lengths of runs of zeros and ones in turn, column by column.
    flat = crowd.T.ravel()
    changes = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    segs = [
        [[3, 2, 9, 2, 9, 6, 3, 6]],
        dict(size=[height, width], counts=np.diff(changes).tolist()),
        coco_mask.encode(np.asfortranarray(other)),
    ]
    results = dict(invalid_segs=segs, img_shape=(height, width), input_size=(width, height))
    mask = CrowdHeatmapMask().transform(results)['heatmap_mask']
    np.testing.assert_array_equal(mask, ~expected)


def test_mask_without_anything_to_leave_out_is_full():
    results = dict(invalid_segs=[], img_shape=(20, 30), input_size=(30, 20))
    assert CrowdHeatmapMask().transform(results)['heatmap_mask'].all()


def test_crowd_of_a_file_is_masked(people, pose_config, tmp_path):
    content = json.loads((people / 'annotations' / 'train.json').read_text())
    crowd = content['annotations'][0]
    content['annotations'][1]['iscrowd'] = crowd['iscrowd'] = 1
    side = 192
    region = dict(size=[side, side], counts=[0, 10 * side, side * side - 10 * side])
    crowd['segmentation'] = region  # the ten columns at the left
    polygon = content['annotations'][1]['segmentation']
    (tmp_path / 'crowd.json').write_text(json.dumps(content))
    cfg = Config.fromfile(pose_config).train_dataloader.dataset
    cfg.update(ann_file=str(tmp_path / 'crowd.json'))
    affine = cfg.pipeline[1]
    affine.update(shift_prob=0, scale_prob=0, rotate_prob=0)
    init_default_scope('mmpose')
    sample = DATASETS.build(cfg)[0]['data_samples']
    mask = sample.gt_fields.heatmap_mask[0].numpy()
    (xs, ys) = np.array(polygon).reshape(-1, 2).mean(0) // 4
    assert not mask[:, :2].any()
    assert not mask[int(ys), int(xs)]
    assert 0.5 < mask.mean() < 1


# Importing


# Without mmdet, which mmic can do without and which takes seconds to import.
IMPORTS = """
import sys
sys.modules['mmdet'] = None
import mmic
print('FOUND', sorted({'mmpose', 'mmic.pose'} & set(sys.modules)))
sys.modules['mmpose'] = None
try:
    import mmic.pose
except ImportError as error:
    print('REFUSED', error)
"""


def test_mmic_does_not_import_mmpose_and_its_pose_package_names_it():
    printed = run_python(IMPORTS, cwd=ROOT)
    assert 'FOUND []' in printed
    assert 'REFUSED mmic.pose is built on mmpose, which cannot be imported here' in printed
    assert 'mim install mmpose' in printed
