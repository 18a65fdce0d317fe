_base_ = './r50-v1b_120e_in1k.py'

model = dict(backbone=dict(depth=18), head=dict(in_channels=512))
