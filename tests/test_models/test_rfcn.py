"""R-FCN: pooling and votes against loops, which features and proposals it uses; that it learns."""

import copy

import pytest
import torch
from helpers import ROOT, run_python
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData

from mmic.datasets import make_toy_coco

pytest.importorskip('mmdet')

CLASSES, BINS, STRIDE = 3, 3, 16


@pytest.fixture(autouse=True)
def _seeded():
    init_default_scope('mmdet')
    torch.manual_seed(0)


def small_config(**head):
    """The shipped R-FCN on a thin ResNet-18, for three classes and 3 x 3 bins."""
    model = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / 'rfcn_r50.py').model
    model.backbone.update(depth=18, base_channels=8, frozen_stages=-1, init_cfg=None)
    model.rpn_head.update(in_channels=32, feat_channels=16)
    model.roi_head.bbox_roi_extractor.update(output_size=BINS, out_channels=CLASSES + 5)
    model.roi_head.bbox_head.update(
        in_channels=64, feat_channels=16, roi_feat_size=BINS, num_classes=CLASSES, **head
    )
    return model


def make_batch(size=96):
    """Two images with two objects each, as the detector's heads get them."""
    from mmdet.structures import DetDataSample

    boxes = [[[6, 8, 70, 60], [50, 40, 90, 92]], [[0, 0, 40, 95], [30, 10, 60, 38]]]
    samples = []
    for rows in boxes:
        sample = DetDataSample(
            metainfo=dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size))
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(rows).float(), labels=torch.tensor([0, 2])
        )
        samples.append(sample)
    return torch.randn(2, 3, size, size), samples


def away_from_zero(value):
    """The rounding of C, in whole numbers."""
    return int(abs(value) + 0.5) * (1 if value >= 0 else -1)


def naive_pool(maps, rois, bins, stride):
    """Position-sensitive pooling by loops: (N, C k k, H, W) at (n, 5) to (n, C, k, k)."""
    height, width = maps.shape[2:]
    rows = []
    for image, *box in rois.tolist():
        x1, y1, x2, y2 = (away_from_zero(value / stride) for value in box)
        bin_w, bin_h = max(x2 - x1, 1) / bins, max(y2 - y1, 1) / bins
        for channel in range(maps.shape[1] // bins**2):
            for i in range(bins):
                for j in range(bins):
                    scores = maps[int(image), (channel * bins + i) * bins + j]
                    cells = [
                        scores[y, x]
                        for y in range(height)
                        for x in range(width)
                        # The cells [y, y + 1) x [x, x + 1) that the bin touches.
                        if i * bin_h - 1 < y - y1 < (i + 1) * bin_h
                        if j * bin_w - 1 < x - x1 < (j + 1) * bin_w
                    ]
                    rows.append(sum(cells) / len(cells) if cells else maps.new_zeros(()))
    return torch.stack(rows).view(len(rois), -1, bins, bins)


# Image, x1, y1, x2, y2 in pixels; the maps cover 112 x 80 of them. Sides in units of 16 px are no
# multiples of 3 nor too near to one, where loops and kernels could round differently.
ROIS = [
    [0, 16, 16, 80, 64],
    [1, 3.5, 10, 90, 75],
    [0, 0, 0, 112, 80],  # to the last row and column
    [1, 97, 65, 112, 80],  # nothing but the last cell
    [0, 40, 40, 41, 41],  # smaller than a cell
    [1, -50, -20, 60, 40],
    [0, 60, 30, 200, 150],
    [1, 130, 90, 190, 140],  # outside
    [0, -90, -90, -20, -40],
]


def test_pooled_scores_and_gradients_are_those_of_a_loop_over_bins():
    extractor = MODELS.build(
        dict(
            type='RFCNRoIExtractor',
            output_size=BINS,
            out_channels=CLASSES + 5,
            featmap_strides=[STRIDE],
        )
    )
    channels = (CLASSES + 5) * BINS**2
    maps = torch.randn(2, channels, 5, 7, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor(ROIS, dtype=torch.float64)
    pooled = extractor([maps], rois)
    expected = naive_pool(maps, rois, BINS, STRIDE)
    torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-12)
    assert (expected[:7] != 0).any(-1).any(-1).all()
    assert (expected[7:] == 0).all()
    weights = torch.randn_like(expected)
    # Beyond the lower right corner torchvision's gradient is not that of its own forward pass.
    weights[6:8] = 0
    (gradient,) = torch.autograd.grad((pooled * weights).sum(), maps)
    (naive,) = torch.autograd.grad((expected * weights).sum(), maps)
    torch.testing.assert_close(gradient, naive, rtol=1e-12, atol=1e-12)
    assert extractor([maps], rois[:0]).shape == (0, CLASSES + 5, BINS, BINS)


def test_scores_of_a_roi_are_the_vote_of_its_bins():
    head = MODELS.build(small_config()).roi_head.double()
    c5 = torch.randn(2, 64, 5, 7, dtype=torch.float64)
    rois = torch.tensor(ROIS, dtype=torch.float64)
    found = head._bbox_forward((head.bbox_head.score_maps(c5), None), rois)
    weights = {
        name: value.flatten(1)
        for name, value in head.bbox_head.named_parameters()
        if value.ndim == 4
    }
    biases = {name: value for name, value in head.bbox_head.named_parameters() if value.ndim == 1}

    def conv(name, x):
        y = torch.einsum('oc,nchw->nohw', weights[f'{name}.weight'], x)
        return y + biases[f'{name}.bias'][:, None, None]

    hidden = conv('conv_reduce', c5).clamp(min=0)
    for key, name, width in (('cls_score', 'conv_cls', CLASSES + 1), ('bbox_pred', 'conv_reg', 4)):
        maps = conv(name, hidden)
        assert maps.shape[1] == width * BINS**2
        expected = naive_pool(maps, rois, BINS, STRIDE).mean((2, 3))
        torch.testing.assert_close(found[key], expected, rtol=1e-10, atol=1e-10)
        assert found[key].shape == (len(ROIS), width)


def test_proposals_come_from_c4_and_scores_from_c5():
    model = MODELS.build(small_config()).eval()
    images, samples = make_batch()
    maps, c4 = model.extract_feat(images)
    backbone = model.backbone(images)
    assert torch.equal(c4, backbone[0])
    assert torch.equal(maps, model.roi_head.bbox_head.score_maps(backbone[1]))
    assert c4.shape[2:] == maps.shape[2:] == (6, 6)
    losses = model.train().loss(images, copy.deepcopy(samples))
    rpn = sum(value for name in ('loss_rpn_cls', 'loss_rpn_bbox') for value in losses[name])
    rpn.backward(retain_graph=True)
    assert all(p.grad is None for p in model.backbone.layer4.parameters())
    assert model.backbone.layer3[0].conv1.weight.grad.abs().sum() > 0
    model.zero_grad()
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert all(p.grad is None for p in model.rpn_head.parameters())
    assert all(p.grad.isfinite().all() for p in model.backbone.layer4.parameters())
    assert model.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0


def test_hard_examples_are_those_of_the_largest_loss():
    cfg = small_config()
    cfg.train_cfg.rcnn.sampler.update(num=12, add_gt_as_proposals=False)
    model = MODELS.build(cfg)
    # At first all proposals have nearly the same loss.
    torch.nn.init.normal_(model.roi_head.bbox_head.conv_cls.weight)
    images, samples = make_batch()
    features = model.extract_feat(images)
    head, truth = model.roi_head, samples[1].gt_instances
    corner = torch.rand(60, 2) * 60
    boxes = torch.cat((corner, corner + 8 + torch.rand(60, 2) * 27), 1)
    boxes[:5] = truth.bboxes[0] + torch.rand(5, 4)
    proposals = InstanceData(priors=boxes)
    assigned = head.bbox_assigner.assign(proposals, truth)
    negative = (assigned.gt_inds == 0).nonzero()[:, 0]
    assert len(negative) > 24
    sampled = head.bbox_sampler.sample(
        assigned, proposals, truth, feats=[level[1][None] for level in features]
    )
    with torch.no_grad():
        rois = torch.cat((torch.ones(60, 1), boxes), 1)
        logits = naive_pool(features[0], rois, BINS, STRIDE).mean((2, 3))[:, : CLASSES + 1]
        losses = torch.logsumexp(logits, 1) - logits[:, CLASSES]
    hardest = sorted(negative.tolist(), key=lambda index: -losses[index].item())
    count = len(sampled.neg_inds)
    assert count == 12 - len(sampled.pos_inds)
    assert set(sampled.neg_inds.tolist()) == set(hardest[:count])


def test_prediction_is_class_agnostic_boxes_of_the_votes():
    cfg = small_config()
    cfg.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10000)
    model = MODELS.build(cfg).eval()
    torch.nn.init.normal_(model.roi_head.bbox_head.conv_cls.weight)
    images, samples = make_batch()
    for sample in samples:
        sample.set_metainfo(dict(scale_factor=(2.0, 2.0)))
    with torch.no_grad():
        found = model.predict(images, samples)
    for sample in found:
        instances = sample.pred_instances
        assert set(instances.labels.tolist()) <= set(range(CLASSES))
        assert len(instances) > 0
        # In the image before it was resized.
        assert instances.bboxes.min() >= 0
        assert instances.bboxes.max() <= 48


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (dict(out_channels=CLASSES + 4), 'out_channels is 7, .* need 8'),
        (dict(output_size=7), r'output_size is \(7, 7\), .* need \(3, 3\)'),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, message):
    cfg = small_config()
    cfg.roi_head.bbox_roi_extractor.update(part)
    with pytest.raises(ValueError, match=f'bbox_roi_extractor: {message}'):
        MODELS.build(cfg)


def test_missing_host_is_named():
    """mmdet is kept from being imported, in a process of its own."""
    printed = run_python(
        """
import sys
sys.modules['mmdet'] = None
import mmic
from mmengine.registry import MODELS
for name in ('RFCN', 'mmic.RFCNHead', 'RFCNRPNHead', 'RFCNRoIExtractor'):
    try:
        MODELS.build(dict(type=name))
    except ImportError as error:
        print('REFUSED', error)
"""
    )
    lines = [line for line in printed.splitlines() if line.startswith('REFUSED')]
    assert len(lines) == 4
    assert all('is built on mmdet, which cannot be imported' in line for line in lines)


@pytest.mark.slow
def test_it_learns_eight_images_by_heart(tmp_path):
    """Of the toy task, whose classes are told by what stands beside the objects."""
    from mmdet.evaluation.metrics import CocoMetric

    root = make_toy_coco(tmp_path / 'toy', 8, 1, image_size=192)
    cfg = small_config()
    # A stride of 8, as the objects are of 8 to 160 px.
    cfg.backbone.update(base_channels=16, norm_eval=False, strides=(1, 2, 1, 1))
    cfg.rpn_head.update(in_channels=64, feat_channels=32)
    cfg.rpn_head.anchor_generator.update(scales=[2, 4, 8, 16], strides=[8])
    cfg.roi_head.bbox_roi_extractor.featmap_strides = [8]
    cfg.roi_head.bbox_head.update(in_channels=128, feat_channels=64)
    # Hard examples learn slowest at first.
    cfg.train_cfg.rcnn.sampler.update(type='RandomSampler', num=64, pos_fraction=0.5)
    for proposals in (cfg.train_cfg.rpn_proposal, cfg.test_cfg.rpn):
        proposals.update(nms_pre=400, max_per_img=50)
    model = MODELS.build(cfg)
    # Faster than from the weights of init_cfg, which are for a pretrained backbone.
    for name in ('conv_reduce', 'conv_cls', 'conv_reg'):
        torch.nn.init.normal_(model.roi_head.bbox_head.get_submodule(name).weight, std=0.1)
    classes = ('near_red', 'near_green', 'near_blue')
    dataset = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(192, 192)),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    )
    dataset = DATASETS.build(dataset)
    batches = [
        pseudo_collate([dataset[index] for index in (first, first + 1)]) for first in (0, 2, 4, 6)
    ]
    steps = 300
    optimizer = torch.optim.Adam(model.parameters(), lr=0.004)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for step in range(steps):
        if step == 180:
            # From here on with the statistics that it is tested with.
            model.backbone.norm_eval = True
            model.train()
        data = model.data_preprocessor(copy.deepcopy(batches[step % len(batches)]), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        schedule.step()
    metric = CocoMetric(ann_file=str(root / 'annotations' / 'train.json'))
    metric.dataset_meta = dict(classes=classes)
    model.eval()
    for batch in batches:
        with torch.no_grad():
            found = model(**model.data_preprocessor(copy.deepcopy(batch)), mode='predict')
        metric.process(batch, [sample.to_dict() for sample in found])
    assert metric.evaluate(8)['coco/bbox_mAP_50'] > 0.9
