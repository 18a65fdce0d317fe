# v1 has the stride in the first 1x1 of a bottleneck, v1b in the 3x3; and its recipe starts no norm
# at zero.
_base_ = './r50-v1b_120e_in1k.py'

model = dict(backbone=dict(style='caffe', zero_init_residual=False))
