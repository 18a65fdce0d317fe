# MMDetection's COCO with masks and NATS's images: at most 1200 by 800 pixels (Table 1, footnote 3).
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

scale = (1200, 800)
train_pipeline = [
    dict(step, scale=scale) if step['type'] == 'Resize' else step for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, scale=scale) if step['type'] == 'Resize' else step for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
