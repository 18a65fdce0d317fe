# The searched network, trained from scratch, with the pattern of tools/edo_search.py.
_base_ = './r101_100e_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='build_searched',
        model={{_base_.model.backbone}},
        pattern='{{fileDirname}}/patterns/ic-r101-k13_100e_in1k.json',
    )
)
