_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../../_base_/schedules/imagenet_120e.py',
    'mmpretrain::_base_/default_runtime.py',
    '../../_base_/mmic.py',
]
