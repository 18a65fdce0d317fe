_base_ = [
    '../../_base_/models/cifar_r20.py',
    '../../_base_/datasets/cifar10_bs128.py',
    '../../_base_/schedules/cifar_164e_warmup.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(backbone=dict(depth=110))
