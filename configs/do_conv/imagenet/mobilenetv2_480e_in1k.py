_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '../../_base_/datasets/imagenet_gluoncv.py',
    '../../_base_/schedules/imagenet_gluoncv_480e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(head=dict(cal_acc=True))
# 160 images on 8 GPUs.
train_dataloader = dict(batch_size=20)
