# Supernet of the first search: each stage chooses its number of blocks, anew in every step. Half
# as wide as the network that is searched for, as in the paper. Its data splits are made by
# `python tools/coco_split.py holdout data/toy_coco/annotations/train.json
# --fraction 0.4 --names archtrain archval --out-dir data/toy_coco/annotations`.
_base_ = ['./faster-rcnn_r18-4stages_fpn_toy.py', '../_base_/mmic.py']

# Stages share their first blocks: with weights of its own, as in the paper, each of ten branches
# would be trained by a tenth of a few hundred steps.
model = dict(
    backbone=dict(type='CRResNet', search='stage', share_prefix=True, base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64]),
)

# Paths are scored on images that the supernet was not trained on.
train_dataloader = dict(dataset=dict(ann_file='annotations/archtrain.json'))
val_dataloader = dict(
    dataset=dict(ann_file='annotations/archval.json', data_prefix=dict(img='train/'))
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.data_root + 'annotations/archval.json')
test_evaluator = val_evaluator

# Schedule
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=max_epochs))

# Parts that are off the path get no gradient, which distributed training has to be told.
find_unused_parameters = True
custom_hooks = [dict(type='PathSamplingHook')]
