# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_13e.py',
    'mmdet::_base_/default_runtime.py',
]

# MMDetection's base is of Caffe's kind, with the stride in the 1x1 convolution. This one is of
# torch's, as the other networks here: patterns and ImageNet weights fit in both.
# The stem alone is frozen and no norm starts at zero, here and in the configs below that inherit
# this one, as with an FPN.
weights = dict(type='Pretrained', checkpoint='torchvision://resnet50')
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(style='pytorch', frozen_stages=0, zero_init_residual=False, init_cfg=weights),
    roi_head=dict(shared_head=dict(style='pytorch', init_cfg=weights)),
)
