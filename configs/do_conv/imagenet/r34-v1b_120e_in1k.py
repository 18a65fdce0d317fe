_base_ = './r18-v1b_120e_in1k.py'

model = dict(backbone=dict(depth=34))
