# GluonCV's Faster R-CNN with FPN (DO-Conv, Table 5): 26 epochs, steps after epochs 17 and 23. The
# rate is 0.00125 per image, warmed up from a third of it in 1000 iterations of 8 images.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

train_cfg = dict(max_epochs=26)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=26, by_epoch=True, milestones=[17, 23], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=8)
