_base_ = './x101-32x4d_100e_in1k.py'

model = dict(backbone=dict(type='CRResNeXt', arch='SCR-ResNeXt101-32x4d'))
