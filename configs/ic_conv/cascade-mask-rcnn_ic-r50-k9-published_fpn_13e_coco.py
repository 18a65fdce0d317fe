# The network that the paper's authors searched and published, in place of a search of one's own.
_base_ = './cascade-mask-rcnn_ic-r50-k9_fpn_13e_coco.py'

model = dict(backbone=dict(pattern='{{fileDirname}}/patterns/segmentation-ic_resnet50_k9.json'))
