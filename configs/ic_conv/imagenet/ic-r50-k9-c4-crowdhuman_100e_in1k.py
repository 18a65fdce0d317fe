# The searched network of Faster R-CNN C4 on CrowdHuman. Its pattern stands in two files: stages 2 to 4
# are the detector's backbone, stage 5 is the head that all RoIs share.
_base_ = './r50_100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_searched',
        model=dict(
            type='build_searched',
            model={{_base_.model.backbone}},
            select='layer[1-3]',
            pattern='{{fileDirname}}/../patterns/faster-rcnn_ic-r50-k9_c4_20e_crowdhuman.json',
        ),
        select='layer4',
        pattern='{{fileDirname}}/../patterns/faster-rcnn_ic-r50-k9_c4_20e_crowdhuman_shared-head.json',
    )
)
