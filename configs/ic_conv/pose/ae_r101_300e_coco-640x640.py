# The plain baseline, in the schedule of the paper.
_base_ = './_base_/ae_300e_coco-640x640.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'))
)
