_base_ = [
    'mmpretrain::_base_/models/mobilenet_v3/mobilenet_v3_large_imagenet.py',
    '../../_base_/datasets/imagenet_gluoncv.py',
    '../../_base_/schedules/imagenet_gluoncv_360e.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

# GluonCV's command also asks for norms that start at zero, which its MobileNetV3 leaves aside.
model = dict(
    head=dict(
        cal_acc=True,
        loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
)
# 2048 images on 8 GPUs.
train_dataloader = dict(batch_size=256)
