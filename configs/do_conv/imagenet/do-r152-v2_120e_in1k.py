_base_ = './r152-v2_120e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
