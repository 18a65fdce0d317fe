# Inception Convolution on ImageNet (section 4.1.1), supernet and searched network alike: 100
# epochs, cosine from 0.4 at 1024 images to 0.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs256_coslr.py'

optim_wrapper = dict(optimizer=dict(lr=0.4))
param_scheduler = dict(convert_to_iter_based=True)
auto_scale_lr = dict(base_batch_size=1024)
