# Inception Convolution on CrowdHuman: 20 epochs, steps after epochs 10 and 15. The paper gives
# neither the learning rate nor a warm-up; they are those of its other detectors, 0.00125 per image.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

train_cfg = dict(max_epochs=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=20, by_epoch=True, milestones=[10, 15], gamma=0.1),
]
