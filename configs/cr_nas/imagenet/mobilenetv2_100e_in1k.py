# The recipe of the ResNets: the paper tells nothing apart.
_base_ = './r50_100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.MobileNetV2',
        out_indices=(7,),
        norm_cfg=dict(type='SyncBN'),
    ),
    head=dict(in_channels=1280),
)
