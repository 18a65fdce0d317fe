# As imagenet_gluoncv_120e.py, for MobileNetV3: 2048 images a step, biases and norms do not decay.
_base_ = './imagenet_gluoncv_120e.py'

optim_wrapper = dict(
    optimizer=dict(lr=2.6, weight_decay=3e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=355, begin=5, end=360, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=360)
auto_scale_lr = dict(base_batch_size=2048)
