_base_ = './r20-v1_164e_cifar100.py'

model = dict(backbone=dict(depth=56))
