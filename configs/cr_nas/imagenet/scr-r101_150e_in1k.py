_base_ = './cr-r101_150e_in1k.py'

model = dict(backbone=dict(arch='SCR-ResNet101'))
