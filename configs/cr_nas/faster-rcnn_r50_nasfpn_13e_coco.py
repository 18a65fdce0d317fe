# Faster R-CNN with a NAS-FPN of 7 cells and 384 channels, which the paper reimplements.
_base_ = './faster-rcnn_r50_fpn_13e_coco.py'

# Five levels, of strides 8 to 128, the coarsest of which wants sides that are multiples of 128.
# The paper gives neither anchors nor the levels of RoIs; both are those of the FPN: anchors of 32
# to 512 px, and boxes that it pools from strides 4 and 8 from stride 8, others as ever.
strides = [8, 16, 32, 64, 128]
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    neck=dict(
        _delete_=True,
        type='NASFPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=384,
        num_outs=5,
        stack_times=7,
        start_level=1,
        norm_cfg=dict(type='SyncBN'),
    ),
    rpn_head=dict(
        in_channels=384,
        feat_channels=384,
        anchor_generator=dict(scales=[4], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=384, featmap_strides=strides[:4], finest_scale=112),
        bbox_head=dict(in_channels=384),
    ),
)
