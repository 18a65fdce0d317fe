# Faster R-CNN with a NAS-FPN of 7 cells and 384 channels. CR-NAS gives these sizes; Inception
# Convolution, which compares on it too, gives none.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

# Five levels, of strides 8 to 128, the coarsest of which wants sides that are multiples of 128.
strides = [8, 16, 32, 64, 128]
# Neither paper gives the anchors. With 4 they are the FPN's, of 32 to 512 px.
anchor_scale = 4
# Nor the levels of RoIs; as in the FPN, and those that it pools from stride 4 from stride 8.
finest_scale = 112

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
        anchor_generator=dict(scales=[anchor_scale], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=384, featmap_strides=strides[:4], finest_scale=finest_scale
        ),
        bbox_head=dict(in_channels=384),
    ),
)
