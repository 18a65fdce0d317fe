# Searched network: as many blocks as the plain one, in the stages and with the dilations that the
# two searches of CR-NAS chose.
_base_ = ['./faster-rcnn_r18-4stages_fpn_toy.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='CRResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_cr-r18_fpn_toy.json',
    )
)
