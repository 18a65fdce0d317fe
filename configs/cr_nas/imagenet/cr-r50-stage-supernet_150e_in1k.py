# ImageNet training of a supernet (appendix A.1), before it is trained for detection.
_base_ = [
    '../../_base_/models/cr_classifier_r50.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../../_base_/schedules/imagenet_150e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

model = dict(
    backbone=dict(type='CRResNet', search='stage'),
    head=dict(in_channels=1024),
)

# 1024 images on 8 GPUs.
train_dataloader = dict(batch_size=128)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

# Parts that are off the path get no gradient, which distributed training has to be told.
find_unused_parameters = True
custom_hooks = [dict(type='PathSamplingHook')]
