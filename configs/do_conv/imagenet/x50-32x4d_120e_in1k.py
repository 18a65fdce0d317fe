_base_ = [
    'mmpretrain::_base_/models/resnext50_32x4d.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../../_base_/schedules/imagenet_120e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]
