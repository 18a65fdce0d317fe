# The searched network, with the pattern that tools/nats_search.py decoded from the supernet.
_base_ = ['./faster-rcnn_x101-32x4d_fpn_13e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='NATSResNeXt',
        pattern='{{fileDirname}}/patterns/faster-rcnn_nats-x101-32x4d_fpn_13e_coco.json',
    )
)
