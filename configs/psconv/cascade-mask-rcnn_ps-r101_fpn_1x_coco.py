# PSConv in all 3x3 convolutions of the backbone, with the paper's pattern (1, 2, 1, 4).
_base_ = ['./cascade-mask-rcnn_r101_fpn_1x_coco.py', '../_base_/mmic.py']

# It starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
model = dict(backbone=dict(type='PSResNet'))
