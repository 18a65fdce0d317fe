_base_ = './x50-32x4d_120e_in1k.py'

model = dict(backbone=dict(depth=101))
