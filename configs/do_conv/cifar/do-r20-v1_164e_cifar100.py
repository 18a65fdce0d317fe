_base_ = './r20-v1_164e_cifar100.py'

model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d')))
