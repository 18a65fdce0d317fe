# ImageNet training of the searched network, before it becomes a detector's backbone. The paper
# does not say how; this is the recipe of its supernets (appendix A.1).
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../../_base_/schedules/imagenet_150e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(
    type='ImageClassifier',
    # mmdet's backbone: it has the names that detectors load. It would keep its norms' statistics.
    backbone=dict(
        type='CRResNet',
        depth=50,
        arch='CR-ResNet50',
        out_indices=(3,),
        norm_cfg=dict(type='SyncBN'),
        norm_eval=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
        cal_acc=True,
    ),
)

# 1024 images on 8 GPUs.
train_dataloader = dict(batch_size=128)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
