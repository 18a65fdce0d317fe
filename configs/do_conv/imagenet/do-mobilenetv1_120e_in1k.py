_base_ = './mobilenetv1_120e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
