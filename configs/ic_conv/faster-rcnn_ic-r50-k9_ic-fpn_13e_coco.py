# The network whose FPN is searched too (the paper's Table 10), with the patterns that
# tools/edo_search.py found in the two parts of its supernet.
_base_ = './faster-rcnn_ic-r50-k9_fpn_13e_coco.py'

model = dict(
    backbone=dict(
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_ic-fpn_13e_coco.json',
    ),
    neck=dict(
        _delete_=True,
        type='build_searched',
        model={{_base_.model.neck}},
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_ic-fpn_13e_coco_neck.json',
    ),
)
