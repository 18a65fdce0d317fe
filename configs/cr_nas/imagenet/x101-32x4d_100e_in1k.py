_base_ = './x50-32x4d_100e_in1k.py'

model = dict(backbone=dict(depth=101))
