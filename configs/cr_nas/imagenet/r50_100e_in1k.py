# ImageNet training of a plain network, as of those that were found (section 4.1: as other detectors'
# backbones): the rate falls to a tenth after epochs 30, 60 and 90, MMPretrain's schedule.
_base_ = [
    '../../_base_/models/cr_classifier_r50.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    '../../_base_/classification_runtime.py',
    '../../_base_/mmic.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
