_base_ = './r50-v1b_120e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='MobileNetV1'),
    head=dict(in_channels=1024),
)
