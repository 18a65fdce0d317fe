# PSConv in all 3x3 convolutions of the blocks, not in the stem.
_base_ = './x29-8x64d_300e_cifar100.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.backbone}},
        conv=dict(type='PSConv2d'),
        select='layer',
    )
)
