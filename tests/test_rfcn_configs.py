"""The configs of R-FCN on VOC, and of Faster R-CNN C4 on COCO and CrowdHuman: they run from data to
metric, the C4 network's two parts are searched and read back, and schedules are as documented."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import call_search, naive_edo
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from PIL import Image

from mmic.engine import stand_in
from mmic.layers import ICConv2d
from mmic.models.selection import is_3x3, searched_convs
from mmic.pattern import DilationPattern, LayerPattern
from mmic.supernet import WideConv2d

pytest.importorskip('mmdet')

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'ic_conv'
RFCN = sorted(path.name for path in FOLDER.glob('rfcn_*.py'))
C4 = sorted(path.name for path in FOLDER.glob('*_c4_*.py'))
THIN_RFCN = dict(
    backbone=dict(depth=18, base_channels=8, init_cfg=None),
    rpn_head=dict(in_channels=32, feat_channels=16),
    roi_head=dict(bbox_head=dict(in_channels=64, feat_channels=16)),
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    init_default_scope('mmdet')


def load(name, **model):
    cfg = Config.fromfile(FOLDER / name)
    cfg.merge_from_dict(dict(model=model))
    return cfg


def random_pattern(path, network, scope='backbone', seed=0):
    """Write a random pattern for all 3x3 convolutions of a plain network; return the dilations."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name, conv in searched_convs(network, is_3x3).items():
        dilations = torch.randint(1, 5, (conv.out_channels, 2), generator=generator)
        layers[name] = LayerPattern(dilations, (3, 3), conv.in_channels, conv.groups)
    DilationPattern(layers, 'edo', scope).save(path)
    return {name: layer.dilations for name, layer in layers.items()}


def chosen(module):
    """The dilations of a searched network, by layer."""
    return {
        name: conv.dilations for name, conv in module.named_modules() if isinstance(conv, ICConv2d)
    }


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


# Schedules


@pytest.mark.parametrize('name', RFCN + C4)
def test_schedule(name):
    cfg = load(name)
    epochs = int(re.search(r'_(\d+)e_', name)[1])
    steps = {13: [8, 11], 18: [15, 17], 20: [10, 15]}[epochs]
    warm_up, decay = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == decay.end == epochs
    assert (decay.milestones, decay.gamma) == (steps, 0.1)
    assert (warm_up.type, warm_up.end, warm_up.by_epoch) == ('LinearLR', 500, False)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr / cfg.auto_scale_lr.base_batch_size == pytest.approx(0.00125)
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)


def test_all_networks_are_there():
    assert len(RFCN) == 2 * 3
    assert len(C4) == 2 * 3


# R-FCN on VOC


@pytest.mark.parametrize('depth', [50, 101])
@pytest.mark.parametrize('kind', ['-supernet', ''])
def test_rfcn_differs_from_the_plain_one_in_the_backbones_convolutions_only(depth, kind):
    ours = load(f'rfcn_ic-r{depth}-k9{kind}_18e_voc0712.py').to_dict()
    plain = load(f'rfcn_r{depth}_18e_voc0712.py').to_dict()
    backbone, expected = ours['model'].pop('backbone'), plain['model'].pop('backbone')
    assert ours == plain
    assert (backbone.pop('type'), expected.pop('type')) == ('ICResNet', 'ResNet')
    if kind:
        assert (backbone.pop('dilations'), expected.pop('dilations')) == ((1,) * 4, (1, 1, 1, 2))
        assert backbone.pop('d_max') == 4
    else:
        # Nothing is searched on VOC.
        coco = Config.fromfile(FOLDER / f'faster-rcnn_ic-r{depth}-k9_fpn_13e_coco.py')
        assert backbone.pop('pattern') == coco.model.backbone.pattern
    assert backbone == expected


@pytest.mark.parametrize('kind', ['', '_ic-supernet', '_ic'])
def test_fifth_stage_of_rfcn_has_the_fourth_ones_resolution(kind, tmp_path):
    name = 'rfcn_r50_18e_voc0712.py'
    if kind:
        name = name.replace('_r50', '_ic-r50-k9' + kind[3:])
    cfg = load(name, **THIN_RFCN).model.backbone
    if kind == '_ic':
        # A pattern of the backbone that Faster R-CNN with FPN has.
        fpn = load('faster-rcnn_r50_fpn_13e_coco.py').model.backbone
        fpn.update(depth=18, base_channels=8, init_cfg=None)
        cfg.pattern = str(tmp_path / 'fpn.json')
        expected = random_pattern(cfg.pattern, MODELS.build(fpn))
    backbone = MODELS.build(cfg)
    c4, c5 = backbone(torch.randn(1, 3, 64, 96))
    assert c4.shape[1:] == (32, 4, 6)
    assert c5.shape[1:] == (64, 4, 6)
    if kind == '_ic':
        # Twice those found with the stride, where the plain fifth stage is dilated by 2: in the
        # first convolution of a block of ResNet-18.
        twice = ['layer4.0.conv1', 'layer4.1.conv1']
        assert same(chosen(backbone), {n: d * (1 + (n in twice)) for n, d in expected.items()})
        assert len(expected) == 16
    if kind == '_ic-supernet':
        assert len([m for m in backbone.modules() if isinstance(m, WideConv2d)]) == 16


def test_rfcn_starts_from_the_searched_network_with_its_stride(tmp_path):
    """The classifier's fifth stage has the pattern's dilations, the detector's twice as many."""
    strided = load('faster-rcnn_ic-r50-k9_fpn_13e_coco.py').model.backbone
    plain = load('faster-rcnn_r50_fpn_13e_coco.py').model.backbone
    for cfg in (strided, plain):
        cfg.update(depth=18, base_channels=8, init_cfg=None)
    strided.pattern = str(tmp_path / 'fpn.json')
    random_pattern(strided.pattern, MODELS.build(plain))
    trained = MODELS.build(strided)
    state = {f'backbone.{key}': value for key, value in trained.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'classifier.pth')
    cfg = load('rfcn_ic-r50-k9_18e_voc0712.py', **THIN_RFCN).model.backbone
    cfg.pattern = strided.pattern
    start = str(tmp_path / 'classifier.pth')
    cfg.init_cfg = dict(type='Pretrained', checkpoint=start, prefix='backbone.')
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    assert same(dict(backbone.named_parameters()), dict(trained.named_parameters()))
    layer = 'layer4.1.conv1'
    assert torch.equal(chosen(backbone)[layer], 2 * chosen(trained)[layer])


def test_pattern_can_be_made_up_for_rfcn():
    """The supernet that the layers are taken from has no dilation in its fifth stage."""
    found = stand_in.random_pattern(
        load('rfcn_ic-r50-k9_18e_voc0712.py', **THIN_RFCN).model.backbone
    )
    assert len(found.layers) == 16


def test_rfcn_has_the_parts_of_its_paper():
    model = load('rfcn_r50_18e_voc0712.py').model
    model.backbone.init_cfg = None
    with torch.device('meta'):
        built = MODELS.build(model)
    head = built.roi_head.bbox_head
    assert head.conv_reduce.weight.shape == (1024, 2048, 1, 1)
    assert head.conv_cls.weight.shape == (7 * 7 * (20 + 1), 1024, 1, 1)
    assert head.conv_reg.weight.shape == (7 * 7 * 4, 1024, 1, 1)
    assert built.rpn_head.rpn_conv.weight.shape == (512, 1024, 3, 3)
    anchors = built.rpn_head.prior_generator.base_anchors[0]
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    assert sorted(areas.sqrt().round().tolist()) == [128] * 3 + [256] * 3 + [512] * 3


OBJECT = """<object><name>{name}</name><difficult>0</difficult><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def write_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_voc(root):
    """Three images of 2007 and two of 2012, with a large and a small object each."""
    counts = {('2007', 'trainval'): 3, ('2012', 'trainval'): 2, ('2007', 'test'): 2}
    for (year, split), count in counts.items():
        folder, names = root / f'VOC{year}', []
        for number in range(count):
            names.append(f'{split}{number}')
            write_image(folder / 'JPEGImages' / f'{names[-1]}.jpg', number)
            objects = OBJECT.format(11, 11, 80, 90, name='cat') + OBJECT.format(
                91, 21, 110, 40, name='dog'
            )
            annotation = folder / 'Annotations' / f'{names[-1]}.xml'
            annotation.parent.mkdir(exist_ok=True)
            annotation.write_text(
                '<annotation><size><width>128</width><height>96</height><depth>3</depth></size>'
                f'{objects}</annotation>'
            )
        listed = folder / 'ImageSets' / 'Main' / f'{split}.txt'
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text('\n'.join(names))


def prepare(cfg, folder, data_root, scale=(128, 96)):
    """Point a config to small generated data, for one epoch on the CPU; return it."""

    def change(node):
        if isinstance(node, dict):
            if 'data_root' in node:
                node['data_root'] = f'{data_root}/'
            if node.get('type') == 'Resize':
                node['scale'] = scale
            node = list(node.values())
        if isinstance(node, (list, tuple)):
            for value in node:
                change(value)

    change(cfg._cfg_dict)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_epochs=1, val_begin=2)
    cfg.work_dir, cfg.experiment_name = str(folder / 'run'), folder.name
    cfg.default_hooks.checkpoint.update(interval=5)
    return cfg


def run_epoch(cfg):
    """Train one epoch and validate; return the detector and its scores."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.model, runner.val_loop.run()


def test_rfcn_runs_on_voc(tmp_path):
    write_voc(tmp_path / 'voc')
    cfg = load('rfcn_r50_18e_voc0712.py', **THIN_RFCN)
    prepare(cfg, tmp_path, tmp_path / 'voc')
    dataset = DATASETS.build(copy.deepcopy(cfg.train_dataloader.dataset))
    # One pass over both years in an epoch; no object is too small to be learned.
    assert len(dataset) == 3 + 2
    for index in range(len(dataset)):
        assert len(dataset[index]['data_samples'].gt_instances) == 2
    model, scores = run_epoch(cfg)
    assert type(model).__name__ == 'RFCN'
    assert 0 <= scores['pascal_voc/AP50'] <= 1


# Faster R-CNN C4


def small_c4(name, d_max=2):
    """A shipped C4 config with ResNet-18, whose shared head has no thinner form."""
    cfg = load(name)
    model = cfg.model
    model.backbone.update(depth=18, init_cfg=None)
    shared = model.roi_head.shared_head
    searched = 'model' in shared
    (shared.model if searched else shared).update(depth=18, init_cfg=None)
    for part in (model.backbone, shared):
        if 'd_max' in part:
            part.d_max = d_max
    model.rpn_head.update(in_channels=256, feat_channels=16)
    model.roi_head.bbox_roi_extractor.update(out_channels=256)
    model.roi_head.bbox_head.update(in_channels=512)
    model.train_cfg.rpn_proposal.max_per_img = 20
    model.train_cfg.rcnn.sampler.num = 8
    model.test_cfg.rpn.max_per_img = 20
    return cfg


def test_c4_network_is_searched_and_read_back_in_two_parts(tmp_path):
    supernet = small_c4('faster-rcnn_ic-r50-k9-supernet_c4_20e_crowdhuman.py')
    config = tmp_path / 'supernet.py'
    supernet.dump(config)
    trained = MODELS.build(supernet.model)
    checkpoint = tmp_path / 'supernet.pth'
    torch.save({'state_dict': trained.state_dict()}, checkpoint)
    cfg = small_c4('faster-rcnn_ic-r50-k9_c4_20e_crowdhuman.py')
    parts = {'backbone': 'layer[123]', 'roi_head.shared_head': 'layer4'}
    nodes = {
        'backbone': cfg.model.backbone,
        'roi_head.shared_head': cfg.model.roi_head.shared_head,
    }
    for scope, stages in parts.items():
        out = tmp_path / Path(nodes[scope].pattern).name
        found, _ = call_search(config, checkpoint, out, '--scope', scope, '--layout', 'position')
        assert all(re.match(stages, layer) for layer in found)
        assert len(found) == {'backbone': 12, 'roi_head.shared_head': 4}[scope]
        for layer, dilations in found.items():
            weight = trained.state_dict()[f'{scope}.{layer}.weight']
            assert dilations == naive_edo(weight), layer
        nodes[scope].pattern = str(out)
    assert len({node.pattern for node in nodes.values()}) == 2
    model = MODELS.build(cfg.model)
    for scope, node in nodes.items():
        written = json.loads(Path(node.pattern).read_text())['layers']
        dilations = chosen(model.get_submodule(scope))
        assert written.keys() == dilations.keys()
        for name, layer in written.items():
            pairs = [[h, w] for h, w, count in layer['dilations'] for _ in range(count)]
            assert dilations[name].tolist() == pairs
    assert len(chosen(model)) == 16


def test_c4_on_coco_takes_both_parts_of_the_pattern_of_fpn(tmp_path):
    cfg = small_c4('faster-rcnn_ic-r50-k9_c4_13e_coco.py').model
    searched = load('faster-rcnn_ic-r50-k9_fpn_13e_coco.py').model.backbone
    assert cfg.backbone.pattern == cfg.roi_head.shared_head.pattern == searched.pattern
    fpn = load('faster-rcnn_r50_fpn_13e_coco.py').model.backbone
    fpn.update(depth=18, init_cfg=None)
    expected = random_pattern(tmp_path / 'fpn.json', MODELS.build(fpn))
    cfg.backbone.pattern = cfg.roi_head.shared_head.pattern = str(tmp_path / 'fpn.json')
    model = MODELS.build(cfg)
    found = {**chosen(model.backbone), **chosen(model.roi_head.shared_head)}
    assert same(found, expected)
    assert len(found) == 16


def test_part_of_a_pattern_that_is_not_in_it(tmp_path):
    cfg = small_c4('faster-rcnn_ic-r50-k9_c4_13e_coco.py').model
    plain = MODELS.build(cfg.roi_head.shared_head.model)
    random_pattern(tmp_path / 'head.json', plain)
    cfg.backbone.pattern = str(tmp_path / 'head.json')
    told = r"head\.json: part 'layer\[123\]' matches none of its 4 layers, 'layer4\.0\.conv1'"
    with pytest.raises(ValueError, match=told):
        MODELS.build(cfg)
    # Without the part's name nothing is left out of a file.
    cfg.backbone.update(part=None)
    with pytest.raises(ValueError, match="layer 'layer4.0.conv1' of the file is not in the net"):
        MODELS.build(cfg)


def test_c4_pattern_of_one_part_is_refused_in_the_other(tmp_path):
    cfg = small_c4('faster-rcnn_ic-r50-k9_c4_20e_crowdhuman.py').model
    plain = MODELS.build(cfg.roi_head.shared_head.model)
    random_pattern(tmp_path / 'head.json', plain, 'roi_head.shared_head')
    cfg.backbone.pattern = str(tmp_path / 'head.json')
    with pytest.raises(ValueError, match="layer 'layer4.0.conv1' of the file is not in the net"):
        MODELS.build(cfg)


@pytest.mark.parametrize('kind', ['supernet', 'searched'])
def test_supernet_shared_head_starts_from_the_plain_weights(kind, tmp_path):
    """By the name that they have in a classifier's checkpoint."""
    cfg = small_c4('faster-rcnn_r50_c4_13e_coco.py').model.roi_head.shared_head
    plain = MODELS.build(cfg)
    torch.save({'state_dict': plain.state_dict()}, tmp_path / 'imagenet.pth')
    weights = dict(type='Pretrained', checkpoint=str(tmp_path / 'imagenet.pth'))
    ours = small_c4('faster-rcnn_ic-r50-k9-supernet_c4_13e_coco.py').model.roi_head.shared_head
    ours.model.init_cfg = weights
    if kind == 'searched':
        ours = dict(type='build_searched', model=ours.model, pattern=str(tmp_path / 'ones.json'))
        layers = {
            name: LayerPattern(torch.ones(conv.out_channels, 2).long(), (3, 3))
            for name, conv in searched_convs(plain, is_3x3).items()
        }
        DilationPattern(layers, 'edo').save(ours['pattern'])
    head = MODELS.build(ours)
    head.init_weights()
    # mmdet's train() returns None.
    plain.eval()
    head.eval()
    x = torch.randn(2, 256, 14, 14)
    torch.testing.assert_close(head(x), plain(x), rtol=1e-3, atol=1e-4)


def write_crowdhuman(root):
    for split, count in (('train', 2), ('val', 3)):
        lines = []
        for number in range(count):
            name = f'{split}{number},abc'
            write_image(root / 'Images' / f'{name}.jpg', number)
            boxes = [[-10, 10, 60, 80], [60, 20, 40, 70], [0, 0, 20, 20]]
            objects = [
                dict(tag=tag, fbox=box, hbox=box, vbox=box)
                for tag, box in zip(('person', 'person', 'mask'), boxes)
            ]
            lines.append(json.dumps(dict(ID=name, gtboxes=objects)))
        (root / f'annotation_{split}.odgt').write_text('\n'.join(lines))


def test_c4_runs_on_crowdhuman(tmp_path):
    write_crowdhuman(tmp_path / 'crowdhuman')
    cfg = small_c4('faster-rcnn_r50_c4_20e_crowdhuman.py')
    prepare(cfg, tmp_path, tmp_path / 'crowdhuman')
    cfg.val_evaluator.ann_file = str(tmp_path / 'crowdhuman' / 'annotation_val.odgt')
    model, scores = run_epoch(cfg)
    assert model.roi_head.bbox_head.num_classes == 1
    assert scores.keys() == {f'crowd_human/{name}' for name in ('mAP', 'mMR', 'Recall')}
    assert 0 <= scores['crowd_human/Recall'] <= 1
