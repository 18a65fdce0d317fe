# The 1x of Inception Convolution, NATS and CR-NAS: 13 epochs, steps after epochs 8 and 11.
# The learning rate, 0.00125 per image (0.02 at 16 images), and the 500 iterations of warm-up
# are those of the base; the papers give no length for the warm-up.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

train_cfg = dict(max_epochs=13)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=13, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
