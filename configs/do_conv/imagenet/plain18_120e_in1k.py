# GluonCV has no such network; the recipe is that of its ResNet-v1.
_base_ = './r18-v1_120e_in1k.py'

model = dict(backbone=dict(_delete_=True, type='PlainNet', depth=18))
