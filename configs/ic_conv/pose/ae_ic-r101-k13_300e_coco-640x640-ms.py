# Tests at three scales what the config without -ms trains.
_base_ = './ae_ic-r101-k13_300e_coco-640x640.py'

model = dict(test_cfg=dict(multiscale_test=True))
test_dataloader = dict(dataset=dict(pipeline=_base_.multiscale_pipeline))
val_dataloader = test_dataloader
