_base_ = './cr-r18-stage-supernet_150e_in1k.py'

model = dict(backbone=dict(search='operation', arch='SCR-ResNet18'))
