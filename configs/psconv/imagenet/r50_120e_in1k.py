_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    '../../_base_/schedules/imagenet_120e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

# MMPretrain's default, to start the last norm of each block at zero, is not in the paper.
model = dict(backbone=dict(zero_init_residual=False), head=dict(cal_acc=True))

# The paper reports the best epoch.
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', max_keep_ckpts=3))
