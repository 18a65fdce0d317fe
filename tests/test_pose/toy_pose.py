"""A small pose estimator on the toy task: its objects are the people, of five keypoints."""

import json

from mmic.datasets import make_toy_coco

KEYPOINTS = ('centre', 'top', 'right', 'bottom', 'left')
SMALLEST = 24
SWAPPED = {'right': 'left', 'left': 'right'}

CONFIG = """
_base_ = 'mmpose::_base_/default_runtime.py'
custom_imports = dict(imports=['mmic', 'mmic.pose'], allow_failed_imports=False)
input_size = (192, 192)
codec = dict(
    type='TrainableAssociativeEmbedding', input_size=input_size, heatmap_size=(48, 48), sigma=2,
    decode_center_shift=0.5, decode_keypoint_order=[0, 1, 2, 3, 4], decode_max_instances=20)
model = dict(
    type='AEPoseEstimator',
    data_preprocessor=dict(
        type='PyramidDataPreprocessor', mean=[127.0] * 3, std=[64.0] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='mmdet.ResNet', depth=18, base_channels=16, num_stages=3, strides=(1, 2, 2),
        dilations=(1, 1, 1), out_indices=(2,), norm_eval=False),
    head=dict(
        type='TrainableAssociativeEmbeddingHead', in_channels=64, num_keypoints=5,
        deconv_out_channels=(32, 32), deconv_kernel_sizes=(4, 4),
        tag_loss=dict(type='MeanAssociativeEmbeddingLoss', loss_weight=0.003),
        decoder=dict(codec, heatmap_size=input_size)),
    test_cfg=dict(restore_heatmap_size=True))
dataset = dict(
    type='CocoDataset', data_mode='bottomup', data_root='@DATA@/',
    ann_file='annotations/train.json', data_prefix=dict(img='train/'), metainfo=@META@)
pack = dict(type='PackPyramidInputs')
train_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**dataset, pipeline=[
        dict(type='LoadImage'),
        dict(type='BottomupRandomAffine', input_size=input_size, shift_factor=0.05,
             scale_factor=(0.65, 1.5), rotate_factor=0.0, distribution='uniform'),
        dict(type='GenerateTarget', encoder=codec),
        dict(type='CrowdHeatmapMask'),
        pack]))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, test_mode=True, pipeline=[
        dict(type='LoadImage'),
        dict(type='PyramidResize', input_size=input_size, size_factor=64, resize_mode='expand'),
        pack]))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric', ann_file='@DATA@/annotations/train.json', nms_mode='none',
    score_mode='bbox')
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=250, val_interval=1000)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='MultiStepLR', by_epoch=False, milestones=[200], gamma=0.1)]
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=1000, save_last=True))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""


def make_people(root):
    """Make eight images of the toy task, with objects that a small network can tell apart.

    Its objects become one category, as COCO's people are. Every image has several.
    """
    make_toy_coco(root, 60, 1, image_size=192)
    path = root / 'annotations' / 'train.json'
    content = json.loads(path.read_text())
    people = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        people[annotation['image_id']].append(annotation)
        annotation['category_id'] = 1
    kept = [
        index
        for index, found in people.items()
        if len(found) > 1 and all(min(person['bbox'][2:]) >= SMALLEST for person in found)
    ][:8]
    content['images'] = [image for image in content['images'] if image['id'] in kept]
    content['annotations'] = [person for index in kept for person in people[index]]
    content['categories'] = content['categories'][:1]
    path.write_text(json.dumps(content))
    return root


def metainfo():
    """The description of the keypoints that MMPose's data sets want."""
    return dict(
        dataset_name='toy',
        paper_info={},
        keypoint_info={
            index: dict(name=name, id=index, color=[0, 0, 0], type='', swap=SWAPPED.get(name, ''))
            for index, name in enumerate(KEYPOINTS)
        },
        skeleton_info={},
        joint_weights=[1.0] * len(KEYPOINTS),
        sigmas=[0.1] * len(KEYPOINTS),
    )


def write_config(path, data_root):
    """Write the config and return its path."""
    text = CONFIG.replace('@DATA@', data_root.as_posix()).replace('@META@', repr(metainfo()))
    path.write_text(text)
    return path
