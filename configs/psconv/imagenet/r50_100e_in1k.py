# The step-wise schedule, 100 epochs with a tenth of the rate after 30, 60 and 90, of the backbones
# in the paper's Tables 7 and 8. It is MMPretrain's.
_base_ = ['mmpretrain::resnet/resnet50_8xb32_in1k.py', '../../_base_/mmic.py']

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
