# The plain baseline. GluonCV trains on COCO before and on VOC itself after, each with a rate of its
# own (README.md); one training of MMSegmentation's stands for the three.
_base_ = [
    '../../_base_/models/deeplabv3_r50-d8.py',
    '../../_base_/datasets/voc12_aug_512x512.py',
    '../../_base_/schedules/schedule_40k.py',
    '../../_base_/mmseg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://resnet101_v1c')),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
