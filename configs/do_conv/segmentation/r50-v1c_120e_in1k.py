# ImageNet training of the plain backbone (Table 4), with the recipe of GluonCV's ResNet-v1b-50.
_base_ = '../imagenet/r50-v1b_120e_in1k.py'

# MMSegmentation's class, which the segmenter has: MMPretrain's names the stem's weights otherwise.
model = dict(backbone=dict(type='mmseg.ResNetV1c'))
