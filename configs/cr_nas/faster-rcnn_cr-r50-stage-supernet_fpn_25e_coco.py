# Supernet of the stage search, for ResNet-50 and, with more blocks, ResNet-101: each stage has
# branches of different numbers of blocks, one of which runs in a step. The splits are made by
# `tools/coco_split.py holdout`.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_25e.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/mmic.py',
]

# Supernets are half as wide as the networks (appendix A.1). Nothing is frozen, so that all choices
# are trained for detection.
model = dict(
    backbone=dict(
        type='CRResNet',
        search='stage',
        frozen_stages=-1,
        norm_cfg=dict(type='SyncBN'),
        norm_eval=False,
        # What configs/cr_nas/imagenet/cr-r50-stage-supernet_150e_in1k.py trains.
        init_cfg=dict(
            checkpoint='work_dirs/cr-r50-stage-supernet_150e_in1k/epoch_150.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)

# Paths are scored on training images that were held out.
train_dataloader = dict(dataset=dict(ann_file='annotations/archtrain.json'))
val_dataloader = dict(
    dataset=dict(ann_file='annotations/archval.json', data_prefix=dict(img='train2017/'))
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.data_root + 'annotations/archval.json')
test_evaluator = val_evaluator

# Parts that are off the path get no gradient, which distributed training has to be told.
find_unused_parameters = True
custom_hooks = [dict(type='PathSamplingHook')]
