# The 2x of CR-NAS (appendices A.1 and A.4): 25 epochs, steps after epochs 16 and 22. The rate is
# 0.00125 per image; the paper gives no length for the warm-up.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

train_cfg = dict(max_epochs=25)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=25, by_epoch=True, milestones=[16, 22], gamma=0.1),
]
