# GluonCV's recipe for MobileNetV2: 160 images a step, the rate falls by 2 % each epoch.
_base_ = './imagenet_gluoncv_120e.py'

optim_wrapper = dict(optimizer=dict(lr=0.045, weight_decay=4e-5))
param_scheduler = [dict(type='ExponentialLR', gamma=0.98, begin=0, end=480)]
train_cfg = dict(max_epochs=480)
auto_scale_lr = dict(base_batch_size=160)
