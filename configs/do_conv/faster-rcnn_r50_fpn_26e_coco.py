# The plain baseline: MMDetection's network with GluonCV's schedule.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_26e.py',
    'mmdet::_base_/default_runtime.py',
]

# 8 images on 8 GPUs.
train_dataloader = dict(batch_size=1)
