# Supernet of the operation search: each block has three dilations, one of which runs in a step.
# Its stages are the paper's unless another result of the stage search is given:
# `--cfg-options model.backbone.arch=None model.backbone.pattern=FILE`.
_base_ = './faster-rcnn_cr-mobilenetv2-stage-supernet_fpn_25e_coco.py'

model = dict(
    backbone=dict(
        search='operation',
        arch='SCR-MobileNetV2',
        init_cfg=dict(
            checkpoint='work_dirs/cr-mobilenetv2-operation-supernet_150e_in1k/epoch_150.pth'
        ),
    )
)
