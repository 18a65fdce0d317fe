# Cyclic interval t = 4 (Table 3), one of them dilated. Table 4 prints another number for it.
_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(pattern=(1, 2, 1, 1))))
