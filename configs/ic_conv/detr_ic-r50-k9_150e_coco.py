# Transfer: the network that was searched on Faster R-CNN, in another detector.
_base_ = ['./detr_r50_150e_coco.py', '../_base_/mmic.py']

# It starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_fpn_13e_coco.json',
    )
)
