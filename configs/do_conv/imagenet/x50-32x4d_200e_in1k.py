_base_ = [
    'mmpretrain::_base_/models/resnext50_32x4d.py',
    '../../_base_/datasets/imagenet_gluoncv.py',
    '../../_base_/schedules/imagenet_gluoncv_200e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

# Labels are smoothed and mixed to the end; norms start at zero as in r50-v1b.
model = dict(
    head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
)
