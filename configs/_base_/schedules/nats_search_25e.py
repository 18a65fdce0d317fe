# The search of NATS (section 4.2): 25 epochs, weights and alpha in turn, each on its own split;
# alpha is frozen for the first 10. train_cfg.alpha_dataloader is left to the config.
train_cfg = dict(type='BilevelTrainLoop', max_epochs=25, freeze_epochs=10, val_interval=25)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 0.00125 per image at 8 images. The paper gives 0.00125 and does not say here whether per image.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='BilevelOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    alpha_optimizer=dict(type='Adam', lr=0.01, weight_decay=1e-5),
)
param_scheduler = dict(
    weights=[
        # Not the paper's, which speaks of warm-up for the training of the searched network only.
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
        # From 0.00125 to 0.00005 per image.
        dict(
            type='CosineAnnealingLR',
            begin=0,
            T_max=25,
            end=25,
            eta_min_ratio=0.04,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
    ],
    alpha=[],
)
auto_scale_lr = dict(enable=False, base_batch_size=8)

custom_hooks = [dict(type='NATSHook')]
