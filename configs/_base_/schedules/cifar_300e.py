# ResNeXt on CIFAR (Xie et al., CVPR 2017, section 5.2): 300 epochs of 128 images, steps after
# epochs 150 and 225.
_base_ = 'mmpretrain::_base_/schedules/cifar10_bs128.py'

optim_wrapper = dict(optimizer=dict(weight_decay=5e-4))
param_scheduler = dict(milestones=[150, 225])
train_cfg = dict(max_epochs=300)
