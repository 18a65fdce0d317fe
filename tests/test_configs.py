"""Every config loads, builds, is named for what it holds, and differs from the plain one only
where the method does."""

import copy
import functools
import math
import re
from pathlib import Path
from unittest import mock

import mmengine
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.utils import get_installed_path

from mmic.engine.rows import read_rows
from mmic.layers import DOConv2d, ICConv2d, PSConv2d
from mmic.models.backbones import is_3x3_after_stem
from mmic.models.nats import MIDDLE_CONVS
from mmic.models.selection import searched_convs, selector
from mmic.pattern import DilationPattern, LayerPattern
from mmic.supernet import MixedConv2d, WideConv2d

pytest.importorskip('mmdet')

ROOT = Path(__file__).resolve().parents[1] / 'configs'
# Folders below a method's hold classifiers and pose estimators, which have tests of their own, as
# have CR-NAS, R-FCN and the detectors on C4.
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob('*/*.py')
    if path.parent.name not in ('_base_', 'cr_nas')
    and not re.search('_cr-|-4stages|^rfcn_|_c4_', path.name)
)
METHOD = [name for name in CONFIGS if name.startswith('ic_conv/')]
CHANGED = [name for name in METHOD if '_ic-' in name]
# Those with the patterns that the paper's authors published are searched ones with another file.
PUBLISHED = [name for name in CHANGED if '-published_' in name]
SEARCHED = [name for name in CHANGED if '-supernet_' not in name and name not in PUBLISHED]
# Detectors to which the paper transfers a backbone's pattern, and where it was searched.
SOURCES = {
    'cascade-rcnn': 'faster-rcnn',
    'cascade-mask-rcnn': 'mask-rcnn',
    'retinanet': 'faster-rcnn',
    'fcos': 'faster-rcnn',
    'detr': 'faster-rcnn',
}
SWAPPED = [name for name in CONFIGS if re.search('_(ps|do)-', name)]
PLAIN = [name for name in CONFIGS if not re.search('_(ic|ps|do|nats)-', name)]
NATS = [name for name in CONFIGS if '_nats-' in name]
NATS_SUPERNETS = [name for name in NATS if '-supernet_' in name]
NATS_SEARCHED = [name for name in NATS if '-supernet_' not in name]
NATS_13E = [name for name in CONFIGS if name.startswith('nats/') and '_13e_' in name]
NATS_ARGUMENTS = ('genotypes', 'num_groups', 'channels_per_group')


def kind(node):
    """Bare type of a config node that mmic builds, else ''; a ``conv_cfg`` is one of its own."""
    name = node.get('type', '')
    name = name.rpartition('.')[2] if isinstance(name, str) else ''
    return name if name.startswith(('IC', 'PS', 'DO', 'NATS', 'build_')) else ''


def nodes(cfg):
    """All dicts of a config, outer ones first."""
    if isinstance(cfg, dict):
        yield cfg
        cfg = list(cfg.values())
    if isinstance(cfg, (list, tuple)):
        for value in cfg:
            yield from nodes(value)


def changed_nodes(cfg):
    return [node for node in nodes(cfg) if kind(node)]


def plain_form(cfg):
    """The config of the network before the method changed it."""
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(plain_form(value) for value in cfg)
    if not isinstance(cfg, dict):
        return cfg
    name = kind(cfg)
    if name.startswith('build_'):
        return plain_form(cfg['model'])
    plain = {
        key: plain_form(value)
        for key, value in cfg.items()
        if not (key == 'conv_cfg' and value and kind(value))
    }
    if name:
        plain['type'] = 'mmdet.' + re.sub('^(IC|PS|DO|NATS)', '', name)
        for key in ('d_max', 'pattern', 'search_stem', 'axes', *NATS_ARGUMENTS):
            plain.pop(key, None)
    return plain


# Config.fromfile reads a host's whole index of models for each of its files that it inherits.
read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)


@functools.lru_cache(maxsize=None)
def load_once(name):
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(ROOT / name)


def load_mmdet(name):
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(f'{get_installed_path("mmdet")}/.mim/configs/{name}.py')


def without_scopes(cfg):
    """A config as it stands in the file: inheriting from a package marks its dicts."""
    if isinstance(cfg, dict):
        return {key: without_scopes(value) for key, value in cfg.items() if key != '_scope_'}
    return [without_scopes(value) for value in cfg] if isinstance(cfg, list) else cfg


def load(name):
    """A config's content without its pretrained weights, so that nothing is downloaded."""
    cfg = copy.deepcopy(load_once(name))
    for node in nodes(cfg.model):
        for key in ('init_cfg', 'pretrained'):
            if node.get(key):
                node[key] = None
    return cfg


BUILT = {}


def build(model, scope, device):
    """Build a model; those on the meta device have no values, and several tests read the same."""
    key = (repr(model), scope)
    if device == 'meta' and key in BUILT:
        return BUILT[key]
    with DefaultScope.overwrite_default_scope(scope), torch.device(device):
        built = MODELS.build(ConfigDict(copy.deepcopy(model)))
    if device == 'meta':
        BUILT[key] = built
    return built


def fit_patterns(cfg, folder):
    """Write a valid pattern file for each searched part of a config and name it there."""
    generator = torch.Generator().manual_seed(0)
    for number, node in enumerate(changed_nodes(cfg.model)):
        if 'pattern' not in node:
            continue
        plain = build(plain_form(node), cfg.default_scope, 'meta')
        method = 'nats' if kind(node).startswith('NATS') else 'edo'
        rule = selector(MIDDLE_CONVS if method == 'nats' else node.get('select'))
        if not node.get('search_stem', True):
            rule = is_3x3_after_stem
        layers = {}
        for name, conv in searched_convs(plain, rule).items():
            dilations = torch.randint(1, 5, (conv.out_channels, 2), generator=generator)
            layers[name] = LayerPattern(
                dilations, tuple(conv.kernel_size), conv.in_channels, conv.groups
            )
        node['pattern'] = str(folder / f'{number}.json')
        DilationPattern(layers, method).save(node['pattern'])


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def test_configs_are_found():
    assert (len(METHOD), len(SEARCHED), len(PUBLISHED)) == (50, 18, 8)
    assert len([name for name in SWAPPED if name.startswith('psconv/')]) == 13
    assert len([name for name in SWAPPED if name.startswith('do_conv/')]) == 2
    assert len([name for name in CONFIGS if name.startswith('nats/')]) == 15
    assert (len(NATS_SUPERNETS), len(NATS_SEARCHED)) == (3 + 1, 6 + 1)
    assert any(name.startswith('toy/') for name in CONFIGS)


@pytest.mark.parametrize('name', PLAIN)
def test_plain_model_builds(name):
    cfg = load(name)
    model = build(cfg.model, cfg.default_scope, 'meta')
    assert changed_nodes(cfg.model) == []
    assert type(model).__name__ == cfg.model.type.rpartition('.')[2]


@pytest.mark.parametrize('name', [name for name in CONFIGS if '_ic-' in name] + NATS_SEARCHED)
def test_searched_model_builds_with_the_plain_parameters(name, tmp_path):
    cfg = load(name)
    changed = changed_nodes(cfg.model)
    assert changed, 'the name says ic-, the model holds nothing of mmic'
    fit_patterns(cfg, tmp_path)
    # A pattern needs values, which the meta device has not.
    searched = any('pattern' in node for node in changed)
    model = build(cfg.model, cfg.default_scope, 'cpu' if searched else 'meta')
    plain = build(plain_form(cfg.model), cfg.default_scope, 'meta')
    expected = shapes(plain)
    for layer, module in model.named_modules():
        key = f'{layer}.weight'
        if isinstance(module, WideConv2d):
            (*channels, height, width) = expected[key]
            side = 2 * changed[0]['d_max'] + 1
            assert (height, width) == (3, 3)
            expected[key] = (*channels, side, side)
        elif isinstance(module, ICConv2d):
            expected[f'{layer}.dilations'] = (module.out_channels, 2)
    assert shapes(model) == expected
    assert expected != shapes(plain), 'no layer was changed'
    if searched:
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count == sum(parameter.numel() for parameter in plain.parameters())


@pytest.mark.parametrize('name', SWAPPED)
def test_swapped_model_builds_with_the_plain_weights(name):
    cfg = load(name)
    model = build(cfg.model, cfg.default_scope, 'meta')
    plain = build(plain_form(cfg.model), cfg.default_scope, 'meta')
    expected, changed = shapes(plain), set()
    for layer, conv in model.named_modules():
        if isinstance(conv, PSConv2d):
            expected[f'{layer}.dilations'] = tuple(conv.weight.shape[:2])
        elif isinstance(conv, DOConv2d):
            taps = conv.kernel_size[0] * conv.kernel_size[1]
            expected[f'{layer}.depthwise'] = (taps, taps, conv.in_channels)
        else:
            continue
        changed.add(layer)
    assert shapes(model) == expected
    # What the name says is changed throughout, the 7x7 stem by DO-Conv alone; nothing else is.
    parts = {'backbone': True, 'neck': '-fpn' in name, 'rpn_head': '-rpn' in name}
    sizes = [(3, 3)] if name.startswith('psconv/') else [(3, 3), (7, 7)]
    assert changed == {
        layer
        for layer, conv in plain.named_modules()
        if isinstance(conv, torch.nn.Conv2d)
        and conv.kernel_size in sizes
        and parts.get(layer.split('.')[0])
    }


@pytest.mark.parametrize('name', CONFIGS)
def test_name_says_what_the_config_holds(name):
    stem = Path(name).stem
    cfg = load(name)
    part = '[a-z0-9]+(-[a-z0-9]+)*'
    # {algorithm}_{components}_{schedule}_{data set}, the convention of MMDetection.
    assert re.fullmatch(f'{part}(_{part}){{2,}}', stem)
    assert cfg.model.type.lower().startswith(stem.partition('_')[0].replace('-', '')[:6])
    changed = changed_nodes(cfg.model)
    assert bool(changed) == (name not in PLAIN)
    for node in changed:
        assert ('d_max' in node or 'genotypes' in node) == ('-supernet_' in stem)
        kernel = re.search(r'-k(\d+)[-_]', stem)
        if kernel and 'd_max' in node:
            assert 2 * node['d_max'] + 1 == int(kernel[1])
    depth = re.search(r'[_-][rx](\d+)[-_]', stem)
    if depth and 'depth' in plain_form(cfg.model).get('backbone', {}):
        assert plain_form(cfg.model)['backbone']['depth'] == int(depth[1])
    epochs = re.search(r'_(\d+)e_', stem)
    if epochs:
        assert cfg.train_cfg.max_epochs == int(epochs[1])


@pytest.mark.parametrize('name', [name for name in METHOD if '_13e_' in name] + NATS_13E)
def test_schedule_is_the_papers(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr / cfg.auto_scale_lr.base_batch_size == pytest.approx(0.00125)
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 1e-4)
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.type, warm_up.by_epoch, warm_up.end) == ('LinearLR', False, 500)
    assert (steps.milestones, steps.gamma, steps.end) == ([8, 11], 0.1, 13)
    assert cfg.train_cfg.max_epochs == 13


@pytest.mark.parametrize('name', [name for name in CONFIGS if name.startswith('psconv/')])
def test_schedule_is_mmdets_1x(name):
    cfg = load(name)
    plain = load_once('psconv/faster-rcnn_r50_fpn_1x_coco.py')
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr'):
        assert cfg[key] == plain[key]
    _, steps = cfg.param_scheduler
    assert (steps.milestones, steps.end, cfg.train_cfg.max_epochs) == ([8, 11], 12, 12)
    assert cfg.optim_wrapper.optimizer.lr / cfg.auto_scale_lr.base_batch_size == 0.00125


@pytest.mark.parametrize('name', [name for name in CONFIGS if name.startswith('do_conv/')])
def test_schedule_is_gluoncvs(name):
    """What its command for Faster R-CNN with FPN sets, and the defaults of its script for COCO."""
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 8 * 0.00125, 0.9)
    assert optimizer.weight_decay == 1e-4
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 8
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.type, warm_up.by_epoch, warm_up.end) == ('LinearLR', False, 1000)
    assert warm_up.start_factor == pytest.approx(1 / 3)
    assert (steps.milestones, steps.gamma, steps.end) == ([17, 23], 0.1, 26)
    assert cfg.train_cfg.max_epochs == 26
    assert (cfg.model.backbone.frozen_stages, cfg.model.backbone.norm_eval) == (1, True)


@pytest.mark.parametrize('network', ['r50', 'ic-r50-k9'])
def test_detr_is_mmdets_but_for_the_frozen_stages(network):
    cfg = load_once(f'ic_conv/detr_{network}_150e_coco.py').to_dict()
    theirs = load_mmdet('detr/detr_r50_8xb2-150e_coco').to_dict()
    assert cfg.pop('custom_imports', None) == (
        dict(imports=['mmic'], allow_failed_imports=False) if '-' in network else None
    )
    ours = plain_form(cfg)
    backbone, other = ours['model']['backbone'], theirs['model']['backbone']
    assert (backbone.pop('frozen_stages'), other.pop('frozen_stages')) == (0, 1)
    # It starts from trained weights, over which MMDetection's default, True, has no say.
    assert backbone.pop('zero_init_residual') is False
    assert backbone.pop('type').replace('mmdet.', '') == other.pop('type')
    for key in ours:
        assert without_scopes(ours[key]) == theirs[key], key


def test_fcos_is_mmdets_on_a_backbone_of_torchs_kind():
    ours = load_once('ic_conv/fcos_r50_fpn_13e_coco.py').to_dict()
    theirs = load_mmdet('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco').to_dict()
    assert ours['model']['bbox_head'].pop('center_sampling') is False
    retinanet = load_once('ic_conv/retinanet_r50_fpn_13e_coco.py').to_dict()
    for part in ('backbone', 'data_preprocessor'):
        theirs['model'].pop(part)
        assert ours['model'].pop(part) == without_scopes(retinanet['model'][part])
    assert ours['model'] == theirs['model']
    optimizer, other = (
        wrapper['optimizer'] for wrapper in (ours['optim_wrapper'], theirs['optim_wrapper'])
    )
    assert (optimizer.pop('lr'), other.pop('lr')) == (0.02, 0.01)
    assert without_scopes(ours['optim_wrapper']) == theirs['optim_wrapper']


def test_nas_fpn_is_the_same_in_both_papers():
    ours, other = (
        load_once(f'{folder}/faster-rcnn_r50_nasfpn_13e_coco.py').to_dict()['model']
        for folder in ('ic_conv', 'cr_nas')
    )
    assert ours['neck']['type'] == 'NASFPN'
    assert ours.pop('backbone') != other.pop('backbone')
    assert ours == other


@pytest.mark.parametrize('name', SWAPPED)
def test_swapped_config_differs_from_the_plain_one_in_the_convolutions_only(name):
    ours = load_once(name).to_dict()
    plain = load_once(re.sub('(?<=_)(ps|do)-', '', name).replace('-rpn', '')).to_dict()
    assert ours.pop('custom_imports') == dict(imports=['mmic'], allow_failed_imports=False)
    if name.startswith('psconv/'):
        backbone = plain['model']['backbone']
        backbone['type'] = f'mmdet.{backbone["type"]}'
    assert plain_form(ours) == plain


@pytest.mark.parametrize('name', CHANGED + NATS_SEARCHED)
def test_config_differs_from_the_plain_one_in_the_convolutions_only(name):
    ours = load_once(name).to_dict()
    plain = re.sub(r'_ic-(.*?)-k\d+(-supernet|-published)?', r'_\1', name)
    plain = re.sub('_ic-fpn(-rpn)?', '_fpn', plain).replace('_nats-', '_')
    plain = load_once(plain).to_dict()
    assert ours.pop('custom_imports') == dict(imports=['mmic'], allow_failed_imports=False)
    backbone = plain['model']['backbone']
    backbone['type'] = f'mmdet.{backbone["type"]}'
    assert plain_form(ours) == plain


@pytest.mark.parametrize('name', SEARCHED)
def test_pattern_has_the_name_of_the_config_it_was_searched_for(name):
    detector, network = Path(name).stem.split('_')[:2]
    searched = Path(name).stem
    if detector in SOURCES or '_nasfpn_' in name:
        searched = f'{SOURCES.get(detector, detector)}_{network}_fpn_13e_coco'
    supernet = load_once(f'ic_conv/{searched.replace("-k9_", "-k9-supernet_")}.py').model
    model = load_once(name).model
    # Each part has a file of its own, and only what is in the name has any.
    parts = (('backbone', '', True), ('neck', '_neck', '_ic-fpn' in name))
    for part, end, is_searched in (*parts, ('rpn_head', '_rpn-head', '-rpn_' in name)):
        assert ('pattern' in model.get(part, {})) == ('d_max' in supernet[part]) == is_searched
        if is_searched:
            expected = ROOT / 'ic_conv' / 'patterns' / f'{searched}{end}.json'
            assert Path(model[part].pattern) == expected


@pytest.mark.parametrize('folder', ['ic_conv', 'psconv', 'do_conv', 'nats'])
def test_readme_counts_the_parameters_of_each_config(folder):
    page = (ROOT / folder / 'README.md').read_text()
    told = dict(re.findall(r'\]\(([\w.-]+\.py)\) \| ([\d.]+) M \|', page))
    names = [name for name in CONFIGS if name.startswith(f'{folder}/')]
    assert sorted(told) == [Path(name).name for name in names]
    for name in names:
        cfg = load(name)
        # A searched network has the plain one's parameters, as tested above.
        searched = re.search('_(ic|nats)-', name) and '-supernet_' not in name
        model = plain_form(cfg.model) if searched else cfg.model
        parameters = build(model, cfg.default_scope, 'meta').parameters()
        count = sum(parameter.numel() for parameter in parameters)
        assert told[Path(name).name] == f'{count / 1e6:.2f}', name


# Groups of a layer, N, in layer2, layer3 and layer4. ResNet's middle convolutions have 128, 256
# and 512 channels there, ResNeXt's twice as many.
GROUPS = {
    'r50': (16, 16, 16),
    'r101': (4, 8, 16),
    'x101-32x4d': (8, 16, 32),
}
# The same, of rows that search ResNet-50 in other spaces.
ROW_GROUPS = {
    'nats.t2.g1': (1, 1, 1),
    'nats.t2.g2': (2, 2, 2),
    'nats.t2.g4': (4, 4, 4),
    'nats.t2.g8': (8, 8, 8),
    'nats.t2.g32': (32, 32, 32),
    'nats.t3.c1': (128, 256, 512),
    'nats.t3.c8': (16, 32, 64),
    'nats.t3.c16': (8, 16, 32),
    'nats.t3.c32': (4, 8, 16),
    'nats.t3.c64': (2, 4, 8),
    'nats.t5.a': (16, 16, 16),
    'nats.t5.b': (16, 16, 16),
}
BLOCKS = {'r50': (4, 6, 3), 'r101': (4, 23, 3), 'x101': (4, 23, 3)}
SMALL = [(1, 1), (2, 2), (3, 3)]
# Table 5: of layer2 and layer3, of layer4.
CANDIDATES = {
    'a': ([(1, 1), (3, 3)], [(1, 1), (3, 3), (5, 5)]),
    'b': (SMALL, [*SMALL, (4, 4), (5, 5)]),
    'c': (
        [*SMALL, (1, 3), (3, 1)],
        [*SMALL, (4, 4), (5, 5), (1, 3), (3, 1), (1, 5), (5, 1)],
    ),
}


def nats_search(variant):
    return f'nats/faster-rcnn_nats-{variant}-supernet_fpn_25e_coco.py'


def test_every_nats_variant_has_its_groups_written_above():
    assert {nats_search(variant) for variant in GROUPS} == {
        name for name in NATS_SUPERNETS if name.startswith('nats/')
    }


def nats_backbone(variant):
    """Backbone of a supernet: of its config, or of a row with the options that it changes."""
    if variant in GROUPS:
        return load(nats_search(variant)).model.backbone
    row = read_rows()[variant]
    cfg = load(row.supernet)
    cfg.merge_from_dict(row.supernet_options)
    return cfg.model.backbone


def test_every_row_that_searches_with_nats_has_its_groups_written_above():
    searches = [row for row in read_rows().values() if row.search == 'nats']
    assert {row.id for row in searches if row.supernet_options} == set(ROW_GROUPS)
    assert {row.supernet for row in searches} == {nats_search(variant) for variant in GROUPS}


@pytest.mark.parametrize('variant', [*GROUPS, *ROW_GROUPS])
def test_nats_searches_stages_3_to_5_in_the_groups_of_the_paper(variant):
    backbone = nats_backbone(variant)
    model = build(backbone, 'mmdet', 'meta')
    plain = build(plain_form(backbone), 'mmdet', 'meta')
    set_name = variant[-1] if variant.startswith('nats.t5.') else 'c'
    found, expected = shapes(model), shapes(plain)
    counts = {**GROUPS, **ROW_GROUPS}[variant]
    network = 'r50' if variant in ROW_GROUPS else variant.split('-')[0]
    for stage, blocks, groups in zip((2, 3, 4), BLOCKS[network], counts):
        candidates = CANDIDATES[set_name][stage == 4]
        for block in range(blocks):
            layer = f'layer{stage}.{block}.conv2'
            conv = model.get_submodule(layer)
            assert isinstance(conv, MixedConv2d)
            assert conv.candidates == candidates
            weight = expected.pop(f'{layer}.weight')
            expected.update({f'{layer}.weights.{i}': weight for i in range(len(candidates))})
            expected[f'{layer}.alpha'] = (groups, len(candidates))
            expected[f'{layer}.dilations'] = (len(candidates), 2)
    assert found == expected


@pytest.mark.parametrize('variant', GROUPS)
def test_nats_search_config_is_the_first_one_with_another_backbone(variant):
    """And that is the plain network's, with the norms of ImageNet."""
    ours, first = (load_once(nats_search(name)).to_dict() for name in (variant, 'r50'))
    plain = load_once(f'nats/faster-rcnn_{variant}_fpn_13e_coco.py').to_dict()['model']
    backbone = plain['backbone']
    assert (backbone['norm_cfg'].pop('type'), backbone['norm_eval']) == ('SyncBN', False)
    backbone['norm_cfg']['type'], backbone['norm_eval'] = 'BN', True
    backbone['type'] = f'mmdet.{backbone["type"]}'
    assert plain_form(ours.pop('model')) == plain
    first.pop('model')
    assert ours == first


def test_nats_search_takes_weights_and_alpha_from_their_own_splits():
    cfg = load(nats_search('r50'))
    weights, alpha = cfg.train_dataloader.to_dict(), cfg.train_cfg.alpha_dataloader.to_dict()
    assert weights['dataset'].pop('ann_file') == 'annotations/nats_weights.json'
    assert alpha['dataset'].pop('ann_file') == 'annotations/nats_alpha.json'
    assert weights == alpha
    assert weights['batch_size'] == 1
    assert weights['dataset']['data_prefix'] == {'img': 'train2017/'}
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.freeze_epochs) == (25, 10)


def test_nats_search_schedule_is_the_papers():
    cfg = load(nats_search('r50'))
    images, epoch_length = cfg.auto_scale_lr.base_batch_size, 1000
    model = torch.nn.Linear(1, 1)
    model.alpha = torch.nn.Parameter(torch.zeros(1))
    wrappers = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    weights, alpha = (wrappers[name].optimizer.param_groups[0] for name in ('weights', 'alpha'))
    assert (images, weights['momentum'], weights['weight_decay']) == (8, 0.9, 1e-4)
    assert isinstance(wrappers['alpha'].optimizer, torch.optim.Adam)
    assert (alpha['lr'], alpha['weight_decay'], cfg.param_scheduler.alpha) == (0.01, 1e-5, [])
    arguments = dict(optimizer=wrappers['weights'], epoch_length=epoch_length)
    schedulers = [
        PARAM_SCHEDULERS.build(copy.deepcopy(scheduler), default_args=arguments)
        for scheduler in cfg.param_scheduler.weights
    ]
    assert weights['lr'] == pytest.approx(0.001 * 0.00125 * images)
    wrappers['weights'].step()  # without gradients; the schedulers want one before theirs
    for epoch in range(1, 26):
        for _ in range(epoch_length):
            for scheduler in schedulers:
                scheduler.step()
        per_image = 0.00005 + (0.00125 - 0.00005) * (1 + math.cos(math.pi * epoch / 25)) / 2
        assert weights['lr'] == pytest.approx(per_image * images, rel=1e-4), epoch
    assert weights['lr'] == pytest.approx(0.0004, rel=1e-4)


@pytest.mark.parametrize('name', NATS_13E)
def test_nats_trains_with_synchronised_norms_and_a_frozen_layer1(name):
    backbone = load_once(name).model.backbone
    assert (backbone.norm_cfg.type, backbone.norm_eval) == ('SyncBN', False)
    assert backbone.frozen_stages == 1


@pytest.mark.parametrize('name', NATS_SEARCHED)
def test_nats_pattern_is_the_one_searched_on_faster_rcnn(name):
    path = ROOT / name
    network = 'faster-rcnn_' + path.stem.partition('_')[2]
    pattern = Path(load_once(name).model.backbone.pattern)
    assert pattern == path.parent / 'patterns' / f'{network}.json'
    supernet = network.replace('_fpn', '-supernet_fpn').replace('_13e_', '_25e_')
    assert f'{path.parent.name}/{supernet}.py' in NATS_SUPERNETS


def test_nats_toy_pattern_is_of_its_supernet():
    cfg = load('toy/faster-rcnn_nats-r50_fpn_toy.py')
    supernet = load('toy/faster-rcnn_nats-r50-supernet_fpn_toy.py')
    convs = dict(build(supernet.model, 'mmdet', 'meta').backbone.named_modules())
    model = build(cfg.model, cfg.default_scope, 'cpu')
    assert {n for n, conv in convs.items() if isinstance(conv, MixedConv2d)} == {
        n for n, conv in model.backbone.named_modules() if isinstance(conv, ICConv2d)
    }
    pattern = DilationPattern.load(cfg.model.backbone.pattern)
    for name, layer in pattern.layers.items():
        chosen = {tuple(pair) for pair in layer.dilations.tolist()}
        assert chosen <= set(convs[name].candidates)
