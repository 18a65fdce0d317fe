_base_ = './cr-r50_150e_in1k.py'

model = dict(backbone=dict(depth=101, arch='CR-ResNet101'))
