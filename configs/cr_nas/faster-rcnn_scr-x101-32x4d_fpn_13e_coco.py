# Stages alone: the paper's network with blocks moved between stages, without dilations.
_base_ = ['./faster-rcnn_x101-32x4d_fpn_13e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='CRResNeXt',
        arch='SCR-ResNeXt101-32x4d',
        # What configs/cr_nas/imagenet/scr-x101-32x4d_100e_in1k.py trains: no plain network's fits.
        init_cfg=dict(
            checkpoint='work_dirs/scr-x101-32x4d_100e_in1k/epoch_100.pth', prefix='backbone.'
        ),
    )
)
