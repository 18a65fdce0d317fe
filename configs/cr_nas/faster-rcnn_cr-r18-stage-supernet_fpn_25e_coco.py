# Supernet of the stage search, of basic blocks.
_base_ = './faster-rcnn_cr-r50-stage-supernet_fpn_25e_coco.py'

model = dict(
    backbone=dict(
        depth=18,
        init_cfg=dict(checkpoint='work_dirs/cr-r18-stage-supernet_150e_in1k/epoch_150.pth'),
    ),
    neck=dict(in_channels=[32, 64, 128, 256]),
)
