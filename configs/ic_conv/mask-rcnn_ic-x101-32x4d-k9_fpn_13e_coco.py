# The searched network, with the pattern that tools/edo_search.py found in the 9x9 supernet.
_base_ = ['./mask-rcnn_x101-32x4d_fpn_13e_coco.py', '../_base_/mmic.py']

# It starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNeXt',
        pattern='{{fileDirname}}/patterns/mask-rcnn_ic-x101-32x4d-k9_fpn_13e_coco.json',
    )
)
