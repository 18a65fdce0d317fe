# Supernet of the comparison of all methods, which needs one network for all. The paper searches
# bottlenecks alone; in ResNet-18's basic blocks both 3x3 convolutions of layer2 to layer4 have
# dilations to choose from. Its data splits are those of the ResNet-50 supernet.
_base_ = './faster-rcnn_nats-r50-supernet_fpn_toy.py'

model = dict(
    backbone=dict(
        depth=18,
        base_channels=16,
        num_stages=4,
        strides=(1, 2, 2, 2),
        dilations=(1, 1, 1, 1),
        out_indices=(0, 1, 2, 3),
        select='layer[234]',
    ),
    neck=dict(in_channels=[16, 32, 64, 128]),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 32])),
)
