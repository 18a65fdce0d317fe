# Faster R-CNN with a NAS-FPN of 7 cells and 384 channels, which the paper reimplements.
_base_ = [
    '../_base_/models/faster-rcnn_r50_nasfpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_13e.py',
    'mmdet::_base_/default_runtime.py',
]

# The paper synchronises the norms, in plain and searched networks.
model = dict(backbone=dict(norm_cfg=dict(type='SyncBN'), norm_eval=False))
