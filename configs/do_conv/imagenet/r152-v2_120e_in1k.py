_base_ = './r50-v2_120e_in1k.py'

model = dict(backbone=dict(depth=152))
