_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../../_base_/schedules/imagenet_120e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(head=dict(cal_acc=True))
