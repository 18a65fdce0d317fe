# Associative embedding at 640 pixels on COCO (section 4.6): Adam, 1e-3 for 200 epochs, 1e-4 until
# epoch 260, 1e-5 until epoch 300. All else is "the setting in MMPose" to the paper, which does not
# write it out; what is read into that has a name here.
_base_ = 'mmpose::_base_/default_runtime.py'
custom_imports = dict(imports=['mmic', 'mmic.pose'], allow_failed_imports=False)

input_size = (640, 640)
heatmap_size = (160, 160)
# MMPose's: 8 GPUs of 24 images. The paper gives the learning rate and no batch size; MMPose's own
# rate at this batch size is 1.5e-3.
images_per_gpu = 24
base_batch_size = 192
# MMPose's. The paper does not mention a warm-up.
warmup_iters = 500
# MMPose's: the whole backbone is trained, its batch norms too, each GPU on its own images.
frozen_stages = -1
norm_eval = False
# MMPose's weights of the tag loss: both terms by 0.001, push by a half more.
tag_loss_weight = 0.001
push_loss_factor = 0.5
# MMPose's augmentation.
shift_factor = 0.2
scale_factor = (0.75, 1.5)
rotate_factor = 30.0
distribution = 'trunc_norm'
# MMPose's. The paper says with or without multi-scale testing, and nothing of flips.
flip_test = True
# MMPose's scales beside 1. The paper does not name them.
test_scales = [0.5, 2]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='MultiStepLR', begin=0, end=300, by_epoch=True, milestones=[200, 260], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=base_batch_size)
default_hooks = dict(checkpoint=dict(save_best='coco/AP', rule='greater', interval=50))

codec = dict(
    type='TrainableAssociativeEmbedding',
    input_size=input_size,
    heatmap_size=heatmap_size,
    sigma=2,
    decode_topk=30,
    decode_center_shift=0.5,
    # From the head over the torso to the limbs.
    decode_keypoint_order=[0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16],
    decode_max_instances=30,
)
model = dict(
    type='AEPoseEstimator',
    data_preprocessor=dict(
        type='PyramidDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        # MMDetection's, which mmic's backbones are built on; MMPose's has the same layers.
        type='mmdet.ResNet',
        depth=50,
        out_indices=(3,),
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        zero_init_residual=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        type='TrainableAssociativeEmbeddingHead',
        in_channels=2048,
        num_keypoints=17,
        deconv_out_channels=(256, 256, 256),
        tag_loss=dict(
            type='MeanAssociativeEmbeddingLoss',
            loss_weight=tag_loss_weight,
            push_loss_factor=push_loss_factor,
        ),
        # Maps are resized to the input before they are decoded (restore_heatmap_size).
        decoder=dict(codec, heatmap_size=input_size),
    ),
    test_cfg=dict(
        multiscale_test=False,
        flip_test=flip_test,
        shift_heatmap=False,
        restore_heatmap_size=True,
        align_corners=False,
    ),
)

train_pipeline = [
    dict(type='LoadImage'),
    dict(
        type='BottomupRandomAffine',
        input_size=input_size,
        shift_factor=shift_factor,
        scale_factor=scale_factor,
        rotate_factor=rotate_factor,
        distribution=distribution,
    ),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='CrowdHeatmapMask'),
    dict(type='PackPyramidInputs'),
]
# size_factor is the backbone's stride, 32, at the smallest of the test scales.
resize = dict(type='PyramidResize', input_size=input_size, size_factor=64, resize_mode='expand')
val_pipeline = [dict(type='LoadImage'), resize, dict(type='PackPyramidInputs')]
multiscale_pipeline = [
    dict(type='LoadImage'),
    dict(resize, aug_scales=test_scales),
    dict(type='PackPyramidInputs'),
]

data_root = 'data/coco/'
train_dataloader = dict(
    batch_size=images_per_gpu,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        data_mode='bottomup',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    # Images have different sizes: they keep their aspect ratio.
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        data_mode='bottomup',
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/person_keypoints_val2017.json',
    nms_mode='none',
    score_mode='bbox',
)
test_evaluator = val_evaluator
