# Searched network: 3x3 convolutions with the dilations that the NATS search chose.
_base_ = ['./faster-rcnn_r50_fpn_toy.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='NATSResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_nats-r50_fpn_toy.json',
    )
)
