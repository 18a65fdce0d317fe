# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py',
    '../_base_/datasets/crowdhuman.py',
    '../_base_/schedules/schedule_20e.py',
    'mmdet::_base_/default_runtime.py',
]

# As on COCO: a network of torch's kind, whose stem alone is frozen and no norm of which starts at
# zero.
weights = dict(type='Pretrained', checkpoint='torchvision://resnet50')
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(style='pytorch', frozen_stages=0, zero_init_residual=False, init_cfg=weights),
    roi_head=dict(
        shared_head=dict(style='pytorch', init_cfg=weights), bbox_head=dict(num_classes=1)
    ),
    # Images hold up to hundreds of persons. The paper does not say how many detections it keeps;
    # these are the numbers of MMDetection's own CrowdHuman detector.
    test_cfg=dict(rcnn=dict(score_thr=0.01, max_per_img=500)),
)
