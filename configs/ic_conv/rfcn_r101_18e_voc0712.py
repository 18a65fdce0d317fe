_base_ = './rfcn_r50_18e_voc0712.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
