# The supernet: 9x9 kernels, which hold dilations 1 to 4 of a 3x3 kernel on either axis.
_base_ = ['./mask-rcnn_r101_fpn_13e_coco.py', '../_base_/mmic.py']

# Kernels are 2 d_max + 1 wide. The plain ImageNet weights of the base are put at their centre.
model = dict(backbone=dict(type='ICResNet', d_max=4))
