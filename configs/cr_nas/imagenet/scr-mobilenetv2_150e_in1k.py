_base_ = './cr-mobilenetv2_150e_in1k.py'

model = dict(backbone=dict(arch='SCR-MobileNetV2'))
