_base_ = './faster-rcnn_nats-r50-supernet_fpn_25e_coco.py'

# A multiple of the 8, 16 and 32 channels that are one group of its convolutions in layer2 to 4.
model = dict(
    backbone=dict(
        type='NATSResNeXt',
        depth=101,
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext101_32x4d'),
        num_groups=None,
        channels_per_group=32,
    )
)
