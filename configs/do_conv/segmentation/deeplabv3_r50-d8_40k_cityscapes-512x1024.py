# The plain baseline.
_base_ = [
    '../../_base_/models/deeplabv3_r50-d8.py',
    '../../_base_/datasets/cityscapes_512x1024.py',
    '../../_base_/schedules/schedule_40k.py',
    '../../_base_/mmseg_runtime.py',
]

model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))
