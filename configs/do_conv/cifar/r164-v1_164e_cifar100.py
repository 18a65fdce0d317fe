_base_ = './r110-v1_164e_cifar100.py'

model = dict(backbone=dict(depth=164), head=dict(in_channels=256))
