# DO-Conv in single stages (Table 6); the stem is stage 0.
_base_ = './r20-v2_164e_cifar100.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_swapped',
        model={{_base_.model.backbone}},
        conv=dict(type='DOConv2d'),
        select=['conv1'],
    )
)
