_base_ = './r50-v1c_120e_in1k.py'

model = dict(backbone=dict(depth=101))
