# DO-Conv in the backbone, the FPN and the RPN: every convolution of the detector but the 1x1 ones
# (the paper's Table 5, "Detection"; its box head has no convolution).
_base_ = './faster-rcnn_do-r50_fpn_26e_coco.py'

model = dict(
    neck=dict(conv_cfg=dict(type='DOConv2d')),
    # RPNHead takes no conv_cfg.
    rpn_head=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.rpn_head}},
        conv=dict(type='DOConv2d'),
    ),
)
