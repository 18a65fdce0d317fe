# CR-NAS on VOC 2007 and 2012 (appendix A.3): 18 epochs, steps after epochs 15 and 17. The rate is
# 0.00125 per image; the paper gives no length for the warm-up.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

train_cfg = dict(max_epochs=18)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=18, by_epoch=True, milestones=[15, 17], gamma=0.1),
]
