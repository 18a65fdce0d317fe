# The norm that ends a block's branch starts at zero, as MMPretrain's does unless told otherwise.
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    '../../_base_/datasets/imagenet_gluoncv.py',
    '../../_base_/schedules/imagenet_gluoncv_120e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(head=dict(cal_acc=True))
