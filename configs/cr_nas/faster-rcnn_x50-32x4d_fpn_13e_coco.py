_base_ = './faster-rcnn_r50_fpn_13e_coco.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        depth=50,
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext50_32x4d'),
    )
)
