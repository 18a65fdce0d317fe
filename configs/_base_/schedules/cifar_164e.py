# ResNet on CIFAR (He et al., CVPR 2016, section 4.2): 64k iterations of 128 images, steps after
# 32k and 48k. All 50k images are trained on, so that these are 164, 82 and 123 epochs.
_base_ = 'mmpretrain::_base_/schedules/cifar10_bs128.py'

param_scheduler = dict(milestones=[82, 123])
train_cfg = dict(max_epochs=164)
