# Cyclic interval t = 2 (Table 3), which is also the pattern (1, 2, 1, 2) of Table 4.
_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(pattern=(1, 2))))
