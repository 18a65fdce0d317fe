_base_ = './mobilenetv2_480e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
