# Supernet of the second search: each block has three dilations, one of which runs in a step. Its
# stages are the paper's for ResNet-18 unless the result of the first search is given:
# `--cfg-options model.backbone.arch=None model.backbone.pattern=FILE`.
_base_ = './faster-rcnn_cr-r18-stage-supernet_fpn_toy.py'

model = dict(backbone=dict(search='operation', share_prefix=False, arch='SCR-ResNet18'))
