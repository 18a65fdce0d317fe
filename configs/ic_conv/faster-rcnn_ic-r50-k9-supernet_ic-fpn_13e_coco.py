# The supernet with 9x9 kernels in the FPN too (the paper's Table 10).
_base_ = './faster-rcnn_ic-r50-k9-supernet_fpn_13e_coco.py'

# Its kernels have no ImageNet weights to start from and are random over their whole width. Search
# both parts, each into its own file: tools/edo_search.py with --scope backbone, and --scope neck.
model = dict(
    neck=dict(
        _delete_=True,
        type='build_supernet',
        model={{_base_.model.neck}},
        d_max=4,
    )
)
