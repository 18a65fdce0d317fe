# PASCAL VOC 2012 in crops of 512x512, four on each of 4 GPUs, as in MMSegmentation: trained on the
# training images and those that SBD labels (10,582), validated on the 1,449 of VOC, of which SBD's
# list holds none.
dataset_type = 'PascalVOCDataset'
data_root = 'data/VOCdevkit/'
crop_size = (512, 512)
image_scale = (2048, 512)
images, lists = 'VOC2012/JPEGImages', 'VOC2012/ImageSets/Segmentation'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Pad', size=crop_size),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    # After the resize, which would change the labels too.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_sets = [
    dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path=images, seg_map_path=f'VOC2012/{labels}'),
        ann_file=f'{lists}/{names}.txt',
        pipeline=train_pipeline,
    )
    for labels, names in (('SegmentationClass', 'train'), ('SegmentationClassAug', 'aug'))
]
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='ConcatDataset', datasets=train_sets),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path=images, seg_map_path='VOC2012/SegmentationClass'),
        ann_file=f'{lists}/val.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
auto_scale_lr = dict(enable=False, base_batch_size=16)
