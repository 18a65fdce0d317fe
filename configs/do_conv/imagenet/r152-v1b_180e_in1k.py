_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    '../../_base_/datasets/imagenet_gluoncv.py',
    '../../_base_/schedules/imagenet_gluoncv_180e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(backbone=dict(depth=152), head=dict(cal_acc=True))
