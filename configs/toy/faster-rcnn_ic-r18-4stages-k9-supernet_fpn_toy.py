# Supernet of the comparison of all methods: every 3x3 convolution of the backbone is 9x9, which
# holds dilations up to 4.
_base_ = ['./faster-rcnn_r18-4stages_fpn_toy.py', '../_base_/mmic.py']

model = dict(backbone=dict(type='ICResNet', d_max=4))
