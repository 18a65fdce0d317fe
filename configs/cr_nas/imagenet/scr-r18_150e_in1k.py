_base_ = './cr-r18_150e_in1k.py'

model = dict(backbone=dict(arch='SCR-ResNet18'))
