_base_ = './r50-v1b_120e_in1k.py'

# The start is that of all configs here; a row of Table 7 sets the other.
model = dict(backbone=dict(conv_cfg=dict(type='DOConv2d', init='identity')))
