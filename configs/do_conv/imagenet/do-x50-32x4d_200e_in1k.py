_base_ = './x50-32x4d_200e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
