_base_ = './cr-r50-stage-supernet_150e_in1k.py'

model = dict(backbone=dict(depth=18), head=dict(in_channels=256))
