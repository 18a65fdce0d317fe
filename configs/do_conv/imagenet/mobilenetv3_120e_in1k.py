_base_ = [
    'mmpretrain::_base_/models/mobilenet_v3/mobilenet_v3_large_imagenet.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../../_base_/schedules/imagenet_120e.py',
    'mmpretrain::_base_/default_runtime.py',
    '../../_base_/mmic.py',
]
