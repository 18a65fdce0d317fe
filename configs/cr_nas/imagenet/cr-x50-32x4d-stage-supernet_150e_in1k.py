_base_ = './cr-r50-stage-supernet_150e_in1k.py'

model = dict(backbone=dict(type='CRResNeXt', groups=32))
