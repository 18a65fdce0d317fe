# MMPretrain's runtime, and the training's top-1 accuracy in the log as the mean over the epoch, to
# draw training curves with (DO-Conv, Figure 5). Heads compute it where cal_acc is True.
_base_ = 'mmpretrain::_base_/default_runtime.py'

# Also at the end of an epoch, where the mean is over all of it.
default_hooks = dict(logger=dict(ignore_last=False))
log_processor = dict(
    custom_cfg=[dict(data_src='accuracy_top-1', method_name='mean', window_size='epoch')]
)
