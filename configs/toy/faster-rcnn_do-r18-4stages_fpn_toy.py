# DO-Conv in the backbone: all of its convolutions but the 1x1 ones.
_base_ = ['./faster-rcnn_r18-4stages_fpn_toy.py', '../_base_/mmic.py']

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
