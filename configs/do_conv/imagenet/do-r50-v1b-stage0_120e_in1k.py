# DO-Conv in single stages (Table 6); the stem is stage 0.
_base_ = './r50-v1b_120e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.backbone}},
        conv=dict(type='DOConv2d'),
        select=['conv1'],
    )
)
