"""Scores of paths: against pycocotools, against mmdet's own test, and whatever must not matter."""

import copy
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import build_model, write_detector_config
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from mmic.datasets import make_toy_coco
from mmic.engine.path_score import PathScore, build_score, deal
from mmic.engine.path_search import load_supernet, supernet_of_config
from mmic.engine.recalibrate import BNRecalibration
from mmic.engine.seen_metric import SeenCocoMetric
from mmic.supernet.paths import path_weights, set_path

# An untrained detector finds something at this overlap.
EXTRA = """
model['backbone'].update(base_channels=4)
model['neck']['in_channels'] = [4, 8, 16, 32]
val_evaluator['iou_thrs'] = [0.1, 0.2]
"""
STAGES = (1, 1, 2, 4)
DILATED, PLAIN = (1, 2, 1, 3, 1, 1, 2, 3), (1,) * 8
SEARCHES = dict(stage=dict(search='stage'), operation=dict(search='operation', stage_blocks=STAGES))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Folder of 4 training and 6 held-out images."""
    return make_toy_coco(tmp_path_factory.mktemp('data') / 'toy', 4, 6, image_size=192)


@pytest.fixture(scope='module', params=SEARCHES)
def supernet(request, data, tmp_path_factory):
    """Config and model of a supernet of either search, each candidate with its own weights."""
    return make_supernet(data, tmp_path_factory.mktemp('supernet'), **SEARCHES[request.param])


@pytest.fixture(scope='module')
def operation(data, tmp_path_factory):
    return make_supernet(data, tmp_path_factory.mktemp('operation'), **SEARCHES['operation'])


def make_supernet(data, folder, extra='', **search):
    path = write_detector_config(
        folder / 'supernet.py', data, EXTRA + extra, type='CRResNet', **search
    )
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.launcher = str(folder / 'run'), 'none'
    init_default_scope('mmdet')
    model = supernet_of_config(cfg)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if name.endswith('running_var'):
                value.uniform_(0.5, 2, generator=generator)
            elif value.dtype.is_floating_point:
                noise = torch.randn(value.shape, generator=generator)
                value.add_(noise, alpha=0.5 * float(value.std(unbiased=False)) + 0.02)
    return cfg, model


def paths_of(model):
    return ((1, 3, 2, 2), STAGES) if model.backbone.search == 'stage' else (DILATED, PLAIN)


def score_of(cfg, model, **options):
    return PathScore(model, cfg.val_dataloader, cfg.val_evaluator, **options)


def detect(cfg, model, path, indices):
    """Detections of a path on some images, as COCO lists them, one image at a time."""
    set_path(model, path)
    model.eval()
    dataset = Runner.build_dataloader(cfg.val_dataloader).dataset
    found = []
    for index in indices:
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([dataset[index]]))[0]
        instances = sample.pred_instances
        for box, score, label in zip(instances.bboxes, instances.scores, instances.labels):
            left, top, right, bottom = box.tolist()
            found.append(
                dict(
                    image_id=sample.img_id,
                    bbox=[left, top, right - left, bottom - top],
                    score=score.item(),
                    category_id=dataset.cat_ids[label],
                )
            )
    return found, [dataset.get_data_info(index)['img_id'] for index in indices]


def annotations_of(cfg):
    return json.loads(Path(cfg.val_evaluator.ann_file).read_text())


def pycocotools_ap(cfg, detections, image_ids, folder):
    """AP from a file that has the given images and no others."""
    content = annotations_of(cfg)
    content['images'] = [image for image in content['images'] if image['id'] in image_ids]
    content['annotations'] = [
        item for item in content['annotations'] if item['image_id'] in image_ids
    ]
    names = [folder / 'annotations.json', folder / 'detections.json']
    for name, values in zip(names, (content, detections)):
        name.write_text(json.dumps(values))
    truth = COCO(str(names[0]))
    evaluation = COCOeval(truth, truth.loadRes(str(names[1])), 'bbox')
    evaluation.params.iouThrs = np.array([0.1, 0.2])
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_mini_batch_ap_is_that_of_pycocotools_on_the_same_images(operation, tmp_path):
    """Two halves of some of the images, each through a path of its own, pooled."""
    cfg, model = operation
    score = score_of(cfg, model, num_batches=2, max_images=4, seed=3)
    images = [image for _, chunk in score.share for image in chunk]
    assert len(set(images)) == 4
    first, first_ids = detect(cfg, model, DILATED, images[:2])
    second, second_ids = detect(cfg, model, PLAIN, images[2:])
    wanted = pycocotools_ap(cfg, first + second, first_ids + second_ids, tmp_path)
    assert 0 < wanted < 1
    assert score([DILATED, PLAIN]) == pytest.approx(wanted, abs=1e-9)
    # Had the images that were left out counted, more objects would have been missed.
    everything = [image['id'] for image in annotations_of(cfg)['images']]
    assert pycocotools_ap(cfg, first + second, everything, tmp_path) < wanted


def test_mask_ap_is_that_of_pycocotools(operation):
    """Objects as they were drawn but for a shift, in half of the images."""
    cfg, _ = operation
    path = cfg.val_evaluator.ann_file
    truth = COCO(path)
    metric = SeenCocoMetric(ann_file=path, metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=cfg.metainfo.classes)
    images, written, generator = truth.getImgIds()[1:4], [], np.random.default_rng(0)
    for image in images:
        objects = truth.loadAnns(truth.getAnnIds(image))
        shifts = generator.integers(0, 12, len(objects))
        masks = [np.roll(truth.annToMask(item), s, 1) for item, s in zip(objects, shifts)]
        scores = generator.random(len(objects)).astype(np.float32)
        labels = [
            cfg.metainfo.classes.index(truth.cats[item['category_id']]['name']) for item in objects
        ]
        found = dict(
            # Boxes that have nothing to do with the masks.
            bboxes=torch.tensor([[0.0, 0.0, 192.0, 192.0]] * len(objects)),
            scores=torch.from_numpy(scores),
            labels=torch.tensor(labels),
            masks=torch.from_numpy(np.stack(masks)).bool(),
        )
        metric.process({}, [dict(img_id=image, ori_shape=(192, 192), pred_instances=found)])
        for item, mask, score in zip(objects, masks, scores):
            coded = encode(np.asfortranarray(mask))
            written.append(
                dict(
                    image_id=image,
                    category_id=item['category_id'],
                    segmentation=dict(coded, counts=coded['counts'].decode()),
                    score=float(score),
                )
            )
    values = metric.evaluate(len(images))
    evaluation = COCOeval(truth, truth.loadRes(written), 'segm')
    evaluation.params.imgIds = images
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.9
    assert values['coco/segm_mAP'] == pytest.approx(evaluation.stats[0], abs=1e-9)
    assert values['coco/bbox_mAP'] < values['coco/segm_mAP']


def test_score_is_that_of_the_stand_alone_network(supernet):
    """By mmdet's own test loop and metric, which round to three decimals."""
    cfg, model = supernet
    score = score_of(cfg, model)
    values = []
    for path in paths_of(model):
        values.append(score([path] * score.num_batches))
        alone = copy.deepcopy(cfg)
        stages = path if model.backbone.search == 'stage' else STAGES
        alone.model.backbone.update(search=None, stage_blocks=list(stages))
        if model.backbone.search == 'operation':
            alone.model.backbone.dilations = list(path)
        runner = Runner.from_cfg(alone)
        runner.model.load_state_dict(path_weights(model, path))
        # pycocotools takes an array alone, and mmdet passes on the config's list.
        runner.test_evaluator.metrics[0].iou_thrs = np.array([0.1, 0.2])
        alone_value = runner.test()['coco/bbox_mAP']
        assert values[-1] == pytest.approx(alone_value, abs=5.01e-4)
    assert round(values[0], 3) != round(values[1], 3)
    assert min(values) > 0


def test_scores_do_not_depend_on_those_before(supernet):
    cfg, model = supernet
    first, second = paths_of(model)
    score = build_score(model, cfg, bn_recalibrate=1)
    count = score.num_batches
    assert count == 6  # images of val_dataloader, whose batch_size is 1
    values = [score([path] * count) for path in (first, second, first)]
    assert values[0] == values[2] != values[1]
    again = build_score(model, cfg, bn_recalibrate=1)
    assert again([second] * count) == values[1]


def test_statistics_are_averages_over_the_batches(operation):
    """Of the first layer by hand; deeper ones follow the path, and all but these stay."""
    cfg, model = operation
    model = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    recalibrate = BNRecalibration(model, loader, num_batches=2)
    set_path(model, DILATED)
    recalibrate()
    maps = []
    for pair in ((0, 1), (2, 3)):
        batch = pseudo_collate([loader.dataset[index] for index in pair])
        with torch.no_grad():
            inputs = model.data_preprocessor(batch, False)['inputs']
            maps.append(model.backbone.conv1(inputs).double())
    norm = model.backbone.bn1
    mean = sum(x.mean((0, 2, 3)) for x in maps) / 2
    var = sum(x.transpose(0, 1).flatten(1).var(1) for x in maps) / 2
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-5)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    assert changed
    assert all(name.endswith(statistics) for name in changed)
    assert all(name.startswith('backbone.') for name in changed)
    deep = 'backbone.layer4.3.bn2.running_mean'
    dilated = after[deep].clone()
    set_path(model, PLAIN)
    recalibrate()
    assert not torch.equal(model.state_dict()[deep], dilated)


def test_images_are_dealt_evenly():
    generator = random.Random(0)
    for _ in range(200):
        images = generator.sample(range(1000), generator.randint(1, 40))
        batches, size = generator.randint(1, len(images)), generator.randint(1, 6)
        chunks = deal(images, batches, size)
        assert [image for _, chunk in chunks for image in chunk] == images
        assert all(1 <= len(chunk) <= size for _, chunk in chunks)
        sizes = [sum(len(chunk) for index, chunk in chunks if index == b) for b in range(batches)]
        assert max(sizes) - min(sizes) <= 1


def test_fewer_images_are_a_fixed_draw(operation):
    cfg, model = operation

    def drawn(seed, count):
        score = score_of(cfg, model, max_images=count, seed=seed)
        return [image for _, chunk in score.share for image in chunk]

    first = drawn(0, 3)
    assert first == sorted(first) == drawn(0, 3)
    assert set(first) < set(drawn(0, 4)) < set(drawn(0, 6)) == set(range(6))
    assert drawn(1, 3) != first


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        ({}, dict(num_batches=7), 'num_batches must be from 1 to 6'),
        ({}, dict(num_batches=4, max_images=3), 'num_batches must be from 1 to 3'),
        ({}, dict(max_images=0), 'max_images must be from 1 to 6'),
        ({}, dict(bn_recalibrate=3), 'train_dataloader has 4 images, 2 batches of 2'),
        ({'val_dataloader.dataset.indices': 0}, {}, 'there are no images to score'),
        ({'val_evaluator': None}, {}, 'has no val_dataloader and val_evaluator'),
        ({'train_dataloader': None}, dict(bn_recalibrate=1), 'has no train_dataloader'),
        (
            {'val_evaluator.ann_file': '@/annotations/train.json'},
            {},
            'are not in its ann_file',
        ),
        (
            {
                'train_dataloader.dataset.ann_file': 'annotations/val.json',
                'train_dataloader.dataset.data_prefix.img': 'val/',
            },
            {},
            r'train_dataloader and val_dataloader \(held out\) share 6 image',
        ),
        ({'val_evaluator.metric': 'proposal'}, {}, "metric must be 'bbox', 'segm' or both"),
    ],
)
def test_impossible_scores_are_refused(operation, data, change, options, message):
    cfg, model = operation
    cfg = copy.deepcopy(cfg)
    place = {
        key: value.replace('@', data.as_posix()) if isinstance(value, str) else value
        for key, value in change.items()
    }
    cfg.merge_from_dict(place)
    with pytest.raises(ValueError, match=message):
        build_score(model, cfg, **options)


def test_images_without_objects_are_refused(operation, data, tmp_path):
    cfg, model = operation
    content = json.loads((data / 'annotations' / 'val.json').read_text())
    content['annotations'] = []
    path = tmp_path / 'bare.json'
    path.write_text(json.dumps(content))
    cfg = copy.deepcopy(cfg)
    cfg.val_evaluator.ann_file = str(path)
    with pytest.raises(ValueError, match='none of its 6 images has an object'):
        score_of(cfg, model)


def test_wrong_calls_are_refused(operation):
    cfg, model = operation
    score = score_of(cfg, model, num_batches=2)
    with pytest.raises(ValueError, match='2 mini-batches need a path each, got 1'):
        score([PLAIN])
    with pytest.raises(ValueError, match='4 is not among the choices'):
        score([PLAIN, (4, *PLAIN[1:])])
    score = score_of(cfg, model, num_batches=1, metric='coco/bbox_AP')
    with pytest.raises(ValueError, match='does not compute coco/bbox_AP; it has coco/bbox_mAP'):
        score([PLAIN])


def test_frozen_statistics_are_refused(data, tmp_path):
    frozen = "model['backbone'].update(norm_eval=True)\n"
    cfg, model = make_supernet(data, tmp_path, frozen, **SEARCHES['operation'])
    with pytest.raises(ValueError, match='norm_eval=True or frozen_stages'):
        build_score(model, cfg, bn_recalibrate=1)


def test_only_a_checkpoint_of_the_supernet_is_loaded(operation, data, tmp_path):
    _, model = operation
    state = model.state_dict()
    load_supernet(model, dict(state), 'same.pth')
    plain = write_detector_config(
        tmp_path / 'plain.py', data, EXTRA, type='CRResNet', stage_blocks=STAGES
    )
    plain = build_model(plain).state_dict()
    # A plain network's weights would fill all candidates alike.
    with pytest.raises(ValueError, match=r"plain.pth is no .* 'backbone.layer1.0.conv2\."):
        load_supernet(model, plain, 'plain.pth')
    with pytest.raises(ValueError, match=r"'extra' is in it and not in the supernet \(1 "):
        load_supernet(model, {**state, 'extra': torch.zeros(1)}, 'x.pth')
    name = 'neck.fpn_convs.0.conv.weight'
    with pytest.raises(ValueError, match=rf'{name}. has shape \(3,\), in the supernet \(16, 16'):
        load_supernet(model, {**state, name: torch.zeros(3)}, 'x.pth')
