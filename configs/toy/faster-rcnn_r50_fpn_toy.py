# The plain Faster R-CNN with the bottlenecks that NATS needs, as small as its ResNet-18.
_base_ = './faster-rcnn_r18_fpn_toy.py'

# An eighth of ResNet-50's channels, and again three stages.
model = dict(
    backbone=dict(depth=50, base_channels=8),
    neck=dict(in_channels=[32, 64, 128]),
)
