_base_ = './r18-v1_120e_in1k.py'

model = dict(backbone=dict(type='PlainNet'))
