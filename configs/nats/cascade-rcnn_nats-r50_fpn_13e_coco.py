# Transfer: the network that was searched on Faster R-CNN, in another detector.
_base_ = ['./cascade-rcnn_r50_fpn_13e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='NATSResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_nats-r50_fpn_13e_coco.json',
    )
)
