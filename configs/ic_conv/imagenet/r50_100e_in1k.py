_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../../_base_/schedules/imagenet_100e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

# The paper trains without any trick (section 4.1.1). One is MMPretrain's default: to start the last
# norm of each block at zero.
model = dict(backbone=dict(zero_init_residual=False), head=dict(cal_acc=True))

# 1024 images on 8 GPUs.
train_dataloader = dict(batch_size=128)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
