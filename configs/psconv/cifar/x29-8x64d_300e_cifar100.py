_base_ = [
    '../../_base_/datasets/cifar100_bs128.py',
    '../../_base_/schedules/cifar_300e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNeXt', depth=29, groups=8, width_per_group=64),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=1024,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        cal_acc=True,
    ),
)
