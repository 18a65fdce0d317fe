# The same after 400 iterations at 0.01: for 110 layers (He et al., CVPR 2016, section 4.2), and
# for all networks of "Identity Mappings in Deep Residual Networks" (He et al., ECCV 2016).
_base_ = './cifar_164e.py'

param_scheduler = [
    # MMEngine leaves the factor an iteration before the end.
    dict(type='ConstantLR', factor=0.1, by_epoch=False, begin=0, end=401),
    dict(type='MultiStepLR', by_epoch=True, milestones=[82, 123], gamma=0.1),
]
