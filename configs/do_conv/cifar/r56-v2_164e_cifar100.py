_base_ = './r110-v1_164e_cifar100.py'

model = dict(backbone=dict(type='CIFARPreActResNet', depth=56))
