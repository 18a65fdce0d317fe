# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_20e.py',
    'mmdet::_base_/default_runtime.py',
]

# The paper synchronises the norms, in plain and searched networks; of MMDetection's FPN detectors
# the backbone alone has any.
model = dict(
    backbone=dict(
        depth=101,
        norm_cfg=dict(type='SyncBN'),
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet101'),
    )
)
