# The supernet with 9x9 kernels in the FPN and the RPN too (the paper's Table 10).
_base_ = './faster-rcnn_ic-r50-k9-supernet_ic-fpn_13e_coco.py'

# A third part to search: tools/edo_search.py with --scope rpn_head.
model = dict(
    rpn_head=dict(
        _delete_=True,
        type='build_supernet',
        model={{_base_.model.rpn_head}},
        d_max=4,
    )
)
