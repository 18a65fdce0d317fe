# PSConv in the middle of all bottlenecks, with the pattern (1, 2, 1, 4).
_base_ = './r50_120e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.backbone}},
        conv=dict(type='PSConv2d'),
    )
)
