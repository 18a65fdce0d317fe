# The plain baseline: mmdet's 1x of 12 epochs, which is the paper's schedule.
_base_ = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'

# The stem alone is frozen, here and in the configs below that inherit this one: layer1 has to
# train under its new dilations, and both networks have to train alike. Set 1, mmdet's default,
# for backbones that were trained on ImageNet as they are (the paper's way).
model = dict(backbone=dict(frozen_stages=0))
