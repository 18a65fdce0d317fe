# Supernet of the stage search, for ResNeXt-50 and, with more blocks, ResNeXt-101. Half as wide,
# so that its 32 groups have 2 channels where the network's have 4.
_base_ = './faster-rcnn_cr-r50-stage-supernet_fpn_25e_coco.py'

model = dict(
    backbone=dict(
        type='CRResNeXt',
        groups=32,
        init_cfg=dict(checkpoint='work_dirs/cr-x50-32x4d-stage-supernet_150e_in1k/epoch_150.pth'),
    )
)
