# The search: the middle convolutions of layer2 to layer4 choose from genotype set C, for each of
# 16 groups of output channels. The splits are made by `tools/coco_split.py nats`.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_detection_1200x800.py',
    '../_base_/schedules/nats_search_25e.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/mmic.py',
]

# Norms keep their ImageNet statistics, MMDetection's default: one image per GPU is too few for new
# ones.
model = dict(backbone=dict(type='NATSResNet', genotypes='C', num_groups=16))

# One image per GPU, on eight GPUs. Both splits are parts of train2017, the base's images.
train_dataloader = dict(batch_size=1, dataset=dict(ann_file='annotations/nats_weights.json'))
train_cfg = dict(
    alpha_dataloader=dict(
        _base_.train_dataloader,
        batch_size=1,
        dataset=dict(_base_.train_dataloader.dataset, ann_file='annotations/nats_alpha.json'),
    )
)
