# As on Cityscapes.
_base_ = ['./deeplabv3_r101-d8_40k_voc12aug-512x512.py', '../../_base_/mmic.py']

model = dict(
    backbone=dict(conv_cfg=dict(type='DOConv2d')),
    decode_head=dict(conv_cfg=dict(type='DOConv2d')),
    auxiliary_head=dict(conv_cfg=dict(type='DOConv2d')),
)
