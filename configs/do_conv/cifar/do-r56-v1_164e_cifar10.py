_base_ = './r56-v1_164e_cifar10.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
