# The same with DO-Conv (Table 4, "Backbone").
_base_ = './r50-v1c_120e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
