# The supernet: 9x9 kernels, which hold dilations 1 to 4 of a 3x3 kernel on either axis.
_base_ = ['./faster-rcnn_r50_c4_20e_crowdhuman.py', '../_base_/mmic.py']

# The fifth stage is the head that all RoIs share. Search both parts, each into its own file:
# tools/edo_search.py with --scope backbone, and with --scope roi_head.shared_head.
model = dict(
    backbone=dict(type='ICResNet', d_max=4),
    roi_head=dict(
        shared_head=dict(
            _delete_=True,
            type='build_supernet',
            model={{_base_.model.roi_head.shared_head}},
            d_max=4,
        )
    ),
)
