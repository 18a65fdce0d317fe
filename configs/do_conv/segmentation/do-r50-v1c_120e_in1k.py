# ImageNet training of the backbone with DO-Conv (Table 4, "Backbone").
_base_ = '../imagenet/r50-v1b_120e_in1k.py'

# MMSegmentation's class, which the segmenter has: MMPretrain's names the stem's weights otherwise.
model = dict(backbone=dict(type='mmseg.ResNetV1c', conv_cfg=dict(type='DOConv2d')))
