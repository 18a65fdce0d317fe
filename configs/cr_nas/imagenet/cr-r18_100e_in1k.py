_base_ = './r18_100e_in1k.py'

model = dict(backbone=dict(type='CRResNet', arch='CR-ResNet18'))
