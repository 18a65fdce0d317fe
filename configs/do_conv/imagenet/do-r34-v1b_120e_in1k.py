_base_ = './r34-v1b_120e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
