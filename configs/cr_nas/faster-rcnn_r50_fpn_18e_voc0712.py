# The plain baseline, in the schedule of the paper.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_18e.py',
    'mmdet::_base_/default_runtime.py',
]

# The paper synchronises the norms, in plain and searched networks; of MMDetection's FPN detectors
# the backbone alone has any.
model = dict(
    backbone=dict(norm_cfg=dict(type='SyncBN'), norm_eval=False),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)

# MMDetection repeats the images three times in an epoch and ignores objects below 32 px. The
# paper's steps are in epochs of one pass, and it ignores no objects.
years = [
    dict(year, filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=None))
    for year in _base_.train_dataloader.dataset.dataset.datasets
]
train_dataloader = dict(dataset=dict(times=1, dataset=dict(datasets=years)))
