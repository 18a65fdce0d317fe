# ResNet-v1-20 for CIFAR-10. Bottlenecks of deeper ones have their stride in the first 1x1.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='CIFARResNet', depth=20, style='caffe'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        cal_acc=True,
    ),
)
