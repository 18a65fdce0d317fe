# MMDetection's VOC 2007 and 2012, trained on in epochs of one pass and with every object.
# MMDetection repeats the images three times in an epoch, which schedules in epochs of one pass
# must not, and ignores objects below 32 px in training.
_base_ = 'mmdet::_base_/datasets/voc0712.py'

years = [
    dict(year, filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=None))
    for year in _base_.train_dataloader.dataset.dataset.datasets
]
train_dataloader = dict(dataset=dict(times=1, dataset=dict(datasets=years)))

# The metric of the 2007 challenge, on whose images the networks are tested: the mean of the precision
# at 11 values of recall. The papers name none.
val_evaluator = dict(metric='mAP', eval_mode='11points')
test_evaluator = dict(metric='mAP', eval_mode='11points')
