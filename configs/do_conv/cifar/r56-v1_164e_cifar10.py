_base_ = './r20-v1_164e_cifar10.py'

model = dict(backbone=dict(depth=56))
