# The supernet: 9x9 kernels, which hold dilations 1 to 4 of a 3x3 kernel on either axis.
_base_ = './rfcn_r101_18e_voc0712.py'

# Dilations are counted from 1, so the fifth stage, which the plain network dilates by 2
# throughout, starts from 1 and its dilations are searched like all others.
model = dict(backbone=dict(type='ICResNet', d_max=4, dilations=(1, 1, 1, 1)))
