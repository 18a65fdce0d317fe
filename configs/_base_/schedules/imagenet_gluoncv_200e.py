# As imagenet_gluoncv_120e.py, for ResNeXt-50 32x4d: biases and norms do not decay.
_base_ = './imagenet_gluoncv_120e.py'

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=195, begin=5, end=200, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=200)
