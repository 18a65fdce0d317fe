_base_ = './do-r50-v1b-stage0_120e_in1k.py'

model = dict(backbone=dict(select=['layer1']))
