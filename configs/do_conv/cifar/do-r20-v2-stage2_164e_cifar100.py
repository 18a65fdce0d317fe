_base_ = './do-r20-v2-stage0_164e_cifar100.py'

model = dict(backbone=dict(select=['layer2']))
