_base_ = './x29-8x64d_300e_cifar100.py'

model = dict(backbone=dict(groups=16))
