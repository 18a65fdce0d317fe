_base_ = './r164-v2_164e_cifar10.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
