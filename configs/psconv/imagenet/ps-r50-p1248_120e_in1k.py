# Section 4.2, in the text.
_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(pattern=(1, 2, 4, 8))))
