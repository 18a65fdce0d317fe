_base_ = './mobilenetv2_100e_in1k.py'

model = dict(backbone=dict(type='CRMobileNetV2', arch='CR-MobileNetV2'))
