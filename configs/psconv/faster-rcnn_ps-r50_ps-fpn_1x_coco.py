# PSConv in the FPN's 3x3 convolutions too (the paper's footnote 4: "marginal benefit").
_base_ = './faster-rcnn_ps-r50_fpn_1x_coco.py'

# build_swapped and not conv_cfg, which would reach the 1x1 lateral convolutions as well.
model = dict(
    neck=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.neck}},
        conv=dict(type='PSConv2d'),
    )
)
