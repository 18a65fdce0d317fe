# Transfer: the network that was searched on Mask R-CNN, in another detector.
_base_ = ['./cascade-mask-rcnn_r101_fpn_13e_coco.py', '../_base_/mmic.py']

# It starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/mask-rcnn_ic-r101-k9_fpn_13e_coco.json',
    )
)
