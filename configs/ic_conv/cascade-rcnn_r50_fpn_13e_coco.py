# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/cascade-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_13e.py',
    'mmdet::_base_/default_runtime.py',
]

# The stem alone is frozen, here and in the configs below that inherit this one: layer1 has to
# train under its new dilations, and both networks have to train alike. The chains, whose backbones
# are trained on ImageNet as they are, set mmdet's default, 1. No norm starts at zero: the paper
# trains without any trick.
model = dict(backbone=dict(frozen_stages=0, zero_init_residual=False))
