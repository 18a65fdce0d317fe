# D_mul = 2M x 2N (Table 8), 36 for kernels of 3x3.
_base_ = './do-r20-v2_164e_cifar100.py'

model = dict(backbone=dict(conv_cfg=dict(d_mul=36)))
