_base_ = './faster-rcnn_nats-r50-supernet_fpn_25e_coco.py'

model = dict(backbone=dict(num_groups=None, channels_per_group=16))
