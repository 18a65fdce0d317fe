# The supernet: 13x13 kernels, for pose, trained as the searched network is.
_base_ = './r50_100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_supernet',
        model={{_base_.model.backbone}},
        d_max=6,
    )
)
