# Dilations vary along the input channels alone (Table 5).
_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(axes='input')))
