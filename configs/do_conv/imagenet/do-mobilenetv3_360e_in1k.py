_base_ = './mobilenetv3_360e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
