_base_ = './r152-v1b_180e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
