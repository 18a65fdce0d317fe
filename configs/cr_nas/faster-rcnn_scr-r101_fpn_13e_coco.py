# Stages alone: the paper's network with blocks moved between stages, without dilations.
_base_ = ['./faster-rcnn_r101_fpn_13e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='CRResNet',
        arch='SCR-ResNet101',
        # What configs/cr_nas/imagenet/scr-r101_100e_in1k.py trains: no plain network's fits.
        init_cfg=dict(checkpoint='work_dirs/scr-r101_100e_in1k/epoch_100.pth', prefix='backbone.'),
    )
)
