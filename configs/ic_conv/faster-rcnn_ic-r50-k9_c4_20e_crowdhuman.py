# The searched network, with the patterns that tools/edo_search.py found in the 9x9 supernet.
_base_ = ['./faster-rcnn_r50_c4_20e_crowdhuman.py', '../_base_/mmic.py']

# It starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_c4_20e_crowdhuman.json',
    ),
    roi_head=dict(
        shared_head=dict(
            _delete_=True,
            type='build_searched',
            model={{_base_.model.roi_head.shared_head}},
            pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_c4_20e_crowdhuman_shared-head.json',
        )
    ),
)
