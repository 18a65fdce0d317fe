# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance_1200x800.py',
    '../_base_/schedules/schedule_13e.py',
    'mmdet::_base_/default_runtime.py',
]

# The paper synchronises the norms, in plain and searched networks; of MMDetection's FPN detectors
# the backbone alone has any.
model = dict(backbone=dict(norm_cfg=dict(type='SyncBN'), norm_eval=False))
