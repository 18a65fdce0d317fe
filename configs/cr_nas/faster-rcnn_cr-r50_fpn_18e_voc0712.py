# Transfer: the network that was searched on Faster R-CNN, on other data.
_base_ = ['./faster-rcnn_r50_fpn_18e_voc0712.py', '../_base_/mmic.py']

model = dict(
    backbone=dict(
        type='CRResNet',
        arch='CR-ResNet50',
        # What configs/cr_nas/imagenet/cr-r50_100e_in1k.py trains: no plain network's fits.
        init_cfg=dict(checkpoint='work_dirs/cr-r50_100e_in1k/epoch_100.pth', prefix='backbone.'),
    )
)
