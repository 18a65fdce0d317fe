_base_ = './r50_100e_in1k.py'

model = dict(backbone=dict(type='mmdet.ResNeXt', groups=32, base_width=4))
