_base_ = './r110-v2_164e_cifar100.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
