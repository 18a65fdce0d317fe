# The plain baseline: DETR's own schedule of 150 epochs, which is the paper's.
_base_ = 'mmdet::detr/detr_r50_8xb2-150e_coco.py'

# The stem alone is frozen, here and in the config below that inherits this one: layer1 has to
# train under its new dilations, and both networks have to train alike. The chains, whose backbones
# are trained on ImageNet as they are, set mmdet's default, 1. No norm starts at zero: the paper
# trains without any trick.
model = dict(backbone=dict(frozen_stages=0, zero_init_residual=False))
