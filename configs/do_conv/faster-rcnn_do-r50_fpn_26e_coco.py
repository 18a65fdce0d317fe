# DO-Conv in the backbone: all of its convolutions but the 1x1 ones, which stay plain.
_base_ = ['./faster-rcnn_r50_fpn_26e_coco.py', '../_base_/mmic.py']

# It starts as the plain network: the ImageNet weights load into W, and D is the identity. The
# stem and layer1 are frozen as in the base, D with W.
model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
