_base_ = './r50_120e_in1k.py'

model = dict(backbone=dict(type='SEResNet'))
