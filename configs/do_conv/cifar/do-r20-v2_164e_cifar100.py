_base_ = './r20-v2_164e_cifar100.py'

# The multiplier is that of all configs here, MN; the rows of Table 8 set others.
model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d', d_mul=9)))
