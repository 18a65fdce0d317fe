# The plain Faster R-CNN of the chain with CR-NAS, which moves blocks between four stages.
_base_ = './faster-rcnn_r18_fpn_toy.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, base_channels=16, norm_eval=False),
    neck=dict(in_channels=[16, 32, 64, 128]),
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 32])),
)

# Longer than the three-stage networks, which go on from a trained one: no weights fit a network
# whose blocks have moved, so both start from scratch.
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=max_epochs))
