# The paper's network: blocks moved between stages, and a dilation for each block.
_base_ = ['./faster-rcnn_r101_fpn_25e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='CRResNet',
        arch='CR-ResNet101',
        # What configs/cr_nas/imagenet/cr-r101_100e_in1k.py trains: no plain network's fits.
        init_cfg=dict(checkpoint='work_dirs/cr-r101_100e_in1k/epoch_100.pth', prefix='backbone.'),
    )
)
