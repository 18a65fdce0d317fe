# The plain baseline, in the schedule of the paper.
_base_ = [
    '../_base_/models/fcos_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_13e.py',
    'mmdet::_base_/default_runtime.py',
]

# The paper's rate for its detectors; MMDetection trains its FCOS with half of it.
lr_per_image = 0.00125
# The paper does not say which variant it trains. False is FCOS as first published, with which
# MMDetection reports 36.6 AP; its later variants take positive points at the centre of boxes alone.
center_sampling = False

# The stem alone is frozen, here and in the config below that inherits this one: layer1 has to
# train under its new dilations, and both networks have to train alike. The chains, whose backbones
# are trained on ImageNet as they are, set mmdet's default, 1. No norm starts at zero: the paper
# trains without any trick.
model = dict(
    backbone=dict(frozen_stages=0, zero_init_residual=False),
    bbox_head=dict(center_sampling=center_sampling),
)
# Biases and clipping are MMDetection's for FCOS.
optim_wrapper = dict(
    optimizer=dict(lr=16 * lr_per_image),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
