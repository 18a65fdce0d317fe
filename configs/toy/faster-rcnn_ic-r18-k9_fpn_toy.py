# Searched network: 3x3 convolutions with the dilations that EDO chose on the supernet.
_base_ = ['./faster-rcnn_r18_fpn_toy.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r18-k9_fpn_toy.json',
    )
)
