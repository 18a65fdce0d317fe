# PSConv in the backbone of the Mask R-CNN, with the paper's cycle of dilations 1, 2, 1, 4.
_base_ = ['./mask-rcnn_r18-4stages_fpn_toy.py', '../_base_/mmic.py']

model = dict(backbone=dict(type='PSResNet'))
