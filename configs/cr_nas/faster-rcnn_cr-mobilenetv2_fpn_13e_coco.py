# The paper's network: blocks moved between stages, and a dilation for each block.
_base_ = ['./faster-rcnn_mobilenetv2_fpn_13e_coco.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='CRMobileNetV2',
        arch='CR-MobileNetV2',
        # What configs/cr_nas/imagenet/cr-mobilenetv2_100e_in1k.py trains: no plain network's fits.
        init_cfg=dict(
            checkpoint='work_dirs/cr-mobilenetv2_100e_in1k/epoch_100.pth', prefix='backbone.'
        ),
    )
)
