# The searched network. As in the paper, nothing is searched on VOC: the pattern is the one of
# Faster R-CNN on COCO. One searched with the supernet's config here is given with --cfg-options.
_base_ = './rfcn_r50_18e_voc0712.py'

# The pattern's dilations replace the plain network's dilation of 2 in the fifth stage; the paper
# does not say how it combines them. The network starts from the plain ImageNet weights of the
# base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_fpn_13e_coco.json',
        dilations=(1, 1, 1, 1),
    )
)
