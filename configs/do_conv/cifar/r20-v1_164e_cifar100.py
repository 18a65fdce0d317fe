_base_ = [
    '../../_base_/models/cifar_r20.py',
    '../../_base_/datasets/cifar100_bs128.py',
    '../../_base_/schedules/cifar_164e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(head=dict(num_classes=100))
