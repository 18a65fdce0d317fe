# PSConv on ImageNet (section 4.1): 120 epochs, cosine from 0.1 at 256 images to 0.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs256_coslr.py'

param_scheduler = dict(T_max=120, end=120, convert_to_iter_based=True)
train_cfg = dict(max_epochs=120)
