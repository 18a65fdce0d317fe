# The step-wise schedule, 100 epochs with a tenth of the rate after 30, 60 and 90, of the backbones
# in the paper's Tables 7 and 8. It is MMPretrain's.
_base_ = [
    'mmpretrain::_base_/models/resnet50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

# MMPretrain's default, to start the last norm of each block at zero, is not in the paper.
model = dict(backbone=dict(zero_init_residual=False), head=dict(cal_acc=True))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
