# PSConv in the backbone, with the paper's cycle of dilations 1, 2, 1, 4.
_base_ = ['./faster-rcnn_r18-4stages_fpn_toy.py', '../_base_/mmic.py']

model = dict(backbone=dict(type='PSResNet'))
