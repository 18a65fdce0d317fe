_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(pattern=(1, 4, 1, 1))))
