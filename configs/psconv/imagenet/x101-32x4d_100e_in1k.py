_base_ = './r50_100e_in1k.py'

model = dict(
    backbone=dict(type='ResNeXt', depth=101, groups=32, width_per_group=4),
)
