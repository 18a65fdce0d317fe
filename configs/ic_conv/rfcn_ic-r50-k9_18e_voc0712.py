# The searched network. As in the paper, nothing is searched on VOC: the pattern is the one of
# Faster R-CNN on COCO.
_base_ = './rfcn_r50_18e_voc0712.py'

# The fifth stage has a dilation of 2 in place of its stride, as in the plain network. It multiplies
# the pattern's dilations: a kernel covers what it covered where the pattern was found. (A pattern
# searched with the supernet's config here, which has no dilation there, needs
# model.backbone.dilations="(1,1,1,1)".) The network starts from the plain ImageNet weights of the
# base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_fpn_13e_coco.json',
    )
)
