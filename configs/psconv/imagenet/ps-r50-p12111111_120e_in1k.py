# Cyclic interval t = 8 (Table 3), one of them dilated.
_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(pattern=(1, 2, 1, 1, 1, 1, 1, 1))))
