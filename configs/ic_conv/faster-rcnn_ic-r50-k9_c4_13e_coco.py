# Transfer: the network that was searched on Faster R-CNN with FPN, without one. A pattern searched
# with the supernet's config here is given with --cfg-options, one for each part.
_base_ = ['./faster-rcnn_r50_c4_13e_coco.py', '../_base_/mmic.py']

# The fifth stage is the head that all RoIs share; each part takes its own layers of the file.
# The network starts from the plain ImageNet weights of the base; the paper trains it on ImageNet first.
pattern = '{{fileDirname}}/patterns/faster-rcnn_ic-r50-k9_fpn_13e_coco.json'
model = dict(
    backbone=dict(type='ICResNet', pattern=pattern, part='layer[123]'),
    roi_head=dict(
        shared_head=dict(
            _delete_=True,
            type='build_searched',
            model={{_base_.model.roi_head.shared_head}},
            pattern=pattern,
            part='layer4',
        )
    ),
)
