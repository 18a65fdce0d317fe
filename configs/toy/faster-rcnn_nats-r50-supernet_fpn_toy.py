# Supernet: the middle convolutions of layer2 and layer3 have five dilations to choose from.
# Its data splits are made by `python tools/coco_split.py holdout data/toy_coco/annotations/train.json
# --fraction 0.4 --names nats_weights nats_alpha --out-dir data/toy_coco/annotations`.
_base_ = ['./faster-rcnn_r50_fpn_toy.py', '../_base_/mmic.py']

model = dict(backbone=dict(type='NATSResNet', genotypes='C', num_groups=8))

# The weights' split; alpha's is below.
train_dataloader = dict(dataset=dict(ann_file='annotations/nats_weights.json'))

# Schedule
train_cfg = dict(
    type='BilevelTrainLoop',
    max_epochs=6,
    freeze_epochs=2,
    val_interval=6,
    alpha_dataloader=dict(
        _base_.train_dataloader,
        dataset=dict(_base_.train_dataloader.dataset, ann_file='annotations/nats_alpha.json'),
    ),
)
optim_wrapper = dict(
    constructor='BilevelOptimWrapperConstructor',
    # Five times the paper's rate, as the search has a few hundred steps only.
    alpha_optimizer=dict(type='Adam', lr=0.05, weight_decay=1e-5),
)
param_scheduler = dict(
    _delete_=True,
    weights=[
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=40),
        dict(
            type='CosineAnnealingLR',
            begin=0,
            T_max=6,
            end=6,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
    ],
    alpha=[],
)
default_hooks = dict(checkpoint=dict(interval=6))
custom_hooks = [dict(type='NATSHook')]
