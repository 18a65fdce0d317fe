# Without bottlenecks v1 and v1b are one network, which starts differently: see r50-v1.
_base_ = './r18-v1b_120e_in1k.py'

model = dict(backbone=dict(zero_init_residual=False))
