# The searched network, with the pattern that tools/nats_search.py decoded from the supernet.
_base_ = ['./faster-rcnn_r50_fpn_13e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='NATSResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_nats-r50_fpn_13e_coco.json',
    )
)
