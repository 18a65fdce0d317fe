_base_ = './cr-r50_150e_in1k.py'

model = dict(backbone=dict(arch='SCR-ResNet50'))
