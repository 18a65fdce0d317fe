# As imagenet_gluoncv_120e.py, for ResNet-v1-152 and v1b-152.
_base_ = './imagenet_gluoncv_120e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=175, begin=5, end=180, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=180)
