# The network that the paper's authors searched and published, in place of a search of one's own.
_base_ = './ae_ic-r50-k13_300e_coco-640x640.py'

model = dict(backbone=dict(pattern='{{fileDirname}}/../patterns/human_pose-ic_resnet50_k13.json'))
