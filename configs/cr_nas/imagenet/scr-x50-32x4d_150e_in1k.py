_base_ = './cr-r50_150e_in1k.py'

model = dict(
    backbone=dict(type='CRResNeXt', depth=50, groups=32, base_width=4, arch='SCR-ResNeXt50-32x4d')
)
