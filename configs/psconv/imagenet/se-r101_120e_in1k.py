_base_ = './se-r50_120e_in1k.py'

model = dict(backbone=dict(depth=101))
