# The network that was found, before it becomes a detector's backbone. It is trained as the plain one.
_base_ = './r50_100e_in1k.py'

model = dict(backbone=dict(type='CRResNet', arch='CR-ResNet50'))
