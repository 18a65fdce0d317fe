# A learned mask chooses dilation 1 or 2 (section 4.2, in the text).
_base_ = './ps-r50_120e_in1k.py'

model = dict(backbone=dict(conv=dict(type='MaskedPSConv2d')))
