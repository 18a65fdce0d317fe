# The plain baseline. The paper gives no schedule for VOC; this is CR-NAS's.
_base_ = [
    '../_base_/models/rfcn_r50.py',
    '../_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_18e.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/mmic.py',
]

# The stem alone is frozen and no norm starts at zero, here and in the configs below that inherit this
# one, as on COCO.
model = dict(backbone=dict(frozen_stages=0, zero_init_residual=False))
