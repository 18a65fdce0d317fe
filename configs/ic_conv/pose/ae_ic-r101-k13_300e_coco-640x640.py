# The searched network, with the pattern that tools/edo_search.py found in the 13x13 supernet.
_base_ = './ae_r101_300e_coco-640x640.py'

# It starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
model = dict(
    backbone=dict(
        type='ICResNet',
        pattern='{{fileDirname}}/patterns/ae_ic-r101-k13_300e_coco-640x640.json',
    )
)
