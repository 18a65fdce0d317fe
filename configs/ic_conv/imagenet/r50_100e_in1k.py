_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../../_base_/schedules/imagenet_100e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(head=dict(cal_acc=True))
# 1024 images on 8 GPUs.
train_dataloader = dict(batch_size=128)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
