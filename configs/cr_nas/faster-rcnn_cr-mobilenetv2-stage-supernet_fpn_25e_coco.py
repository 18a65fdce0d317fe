# Supernet of the stage search, of MobileNetV2's widths: the paper halves those of ResNets.
_base_ = './faster-rcnn_cr-r50-stage-supernet_fpn_25e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRMobileNetV2',
        search='stage',
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/cr-mobilenetv2-stage-supernet_150e_in1k/epoch_150.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
)
