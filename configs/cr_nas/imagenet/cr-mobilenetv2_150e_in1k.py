_base_ = './cr-r50_150e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRMobileNetV2',
        arch='CR-MobileNetV2',
        out_indices=(7,),
        norm_cfg=dict(type='SyncBN'),
    ),
    head=dict(in_channels=1280),
)
