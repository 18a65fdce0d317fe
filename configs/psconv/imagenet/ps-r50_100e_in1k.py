_base_ = './r50_100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.backbone}},
        conv=dict(type='PSConv2d'),
    )
)
