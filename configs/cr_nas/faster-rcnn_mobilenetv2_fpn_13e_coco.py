_base_ = './faster-rcnn_r50_fpn_13e_coco.py'

# The FPN is on the last layers of strides 4 to 32. That of stride 32 is the last bottleneck; the
# paper does not say whether it is, or the 1280 channels behind it. mmdet runs those all the same,
# and they get no gradient.
model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://mmdet/mobilenet_v2'),
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
)
find_unused_parameters = True
