# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_18e.py',
    'mmdet::_base_/default_runtime.py',
]

# The paper synchronises the norms, in plain and searched networks; of MMDetection's FPN detectors
# the backbone alone has any.
model = dict(
    backbone=dict(norm_cfg=dict(type='SyncBN'), norm_eval=False),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)
