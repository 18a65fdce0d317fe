# ImageNet training of a supernet (appendix A.1), before it is trained for detection.
_base_ = './cr-r50_150e_in1k.py'

model = dict(
    backbone=dict(search='stage', arch=None),
    head=dict(in_channels=1024),
)

# Parts that are off the path get no gradient, which distributed training has to be told.
find_unused_parameters = True
custom_hooks = [dict(type='PathSamplingHook')]
