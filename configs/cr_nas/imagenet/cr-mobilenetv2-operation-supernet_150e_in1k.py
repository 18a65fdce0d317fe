_base_ = './cr-mobilenetv2-stage-supernet_150e_in1k.py'

model = dict(backbone=dict(search='operation', arch='SCR-MobileNetV2'))
