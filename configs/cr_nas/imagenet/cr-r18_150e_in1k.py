_base_ = './cr-r50_150e_in1k.py'

model = dict(backbone=dict(depth=18, arch='CR-ResNet18'), head=dict(in_channels=512))
