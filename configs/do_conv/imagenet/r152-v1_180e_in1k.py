_base_ = './r152-v1b_180e_in1k.py'

model = dict(backbone=dict(style='caffe', zero_init_residual=False))
