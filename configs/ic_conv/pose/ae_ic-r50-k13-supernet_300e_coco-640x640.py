# The supernet: 13x13 kernels, which hold dilations 1 to 6 of a 3x3 kernel on either axis.
_base_ = './ae_r50_300e_coco-640x640.py'

# Kernels are 2 d_max + 1 wide. The plain ImageNet weights of the base are put at their centre.
model = dict(backbone=dict(type='ICResNet', d_max=6))
