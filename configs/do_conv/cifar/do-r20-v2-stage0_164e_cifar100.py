# DO-Conv in some stages (Table 6): here the stem, which is stage 0; configs/rows/do.yml sets
# `select` for the others.
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
