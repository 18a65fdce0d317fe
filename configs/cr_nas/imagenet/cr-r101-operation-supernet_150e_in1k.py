_base_ = './cr-r50-stage-supernet_150e_in1k.py'

model = dict(backbone=dict(depth=101, search='operation', arch='SCR-ResNet101'))
