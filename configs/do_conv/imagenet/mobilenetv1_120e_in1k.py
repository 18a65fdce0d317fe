_base_ = './r50-v1b_120e_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='MobileNetV1'),
    head=dict(
        in_channels=1024,
        loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
)
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
