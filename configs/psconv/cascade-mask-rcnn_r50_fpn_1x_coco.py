# The plain baseline: mmdet's 1x of 12 epochs, which is the paper's schedule.
_base_ = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'

# The stem alone is frozen, here and in the configs below that inherit this one: layer1 has to
# train under its new dilations, and both networks have to train alike. The chains, whose backbones
# are trained on ImageNet as they are, set mmdet's default, 1.
model = dict(backbone=dict(frozen_stages=0))
