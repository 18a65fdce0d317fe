# GluonCV's recipe for most networks of DO-Conv (section 4.1): 1024 images a step, warmed up from 0
# to 0.4 in five epochs, then half a cosine to 0 at epoch 120. The momentum is Nesterov's, as in its
# script. Some of its runs are in float16; these are in float32 unless tools/train.py has --amp.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.4, momentum=0.9, nesterov=True, weight_decay=1e-4)
)
param_scheduler = [
    # mmengine multiplies the rate on, and so cannot start from 0 itself.
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=115, begin=5, end=120, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=120, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
