# D starts at random in place of the identity (Table 7).
_base_ = './do-r50-v1b_120e_in1k.py'

model = dict(backbone=dict(conv_cfg=dict(init='random')))
