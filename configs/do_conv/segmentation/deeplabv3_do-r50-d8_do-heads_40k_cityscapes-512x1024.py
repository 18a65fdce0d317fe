# DO-Conv in the backbone and both heads: every convolution but the 1x1 ones (the paper's Table 4,
# "Segmentation").
_base_ = ['./deeplabv3_r50-d8_40k_cityscapes-512x1024.py', '../../_base_/mmic.py']

# It starts as the plain network: the ImageNet weights load into W, and D is the identity.
model = dict(
    backbone=dict(conv_cfg=dict(type='DOConv2d')),
    decode_head=dict(conv_cfg=dict(type='DOConv2d')),
    auxiliary_head=dict(conv_cfg=dict(type='DOConv2d')),
)
