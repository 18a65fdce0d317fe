"""The classification configs: each builds, is the plain network but for the method's convolutions,
and trains as its paper says."""

import copy
import functools
import re
from pathlib import Path
from unittest import mock

import mmengine
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from torch import nn

from mmic.engine.rows import read_rows
from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.pattern import DilationPattern, LayerPattern
from mmic.supernet import WideConv2d

pytest.importorskip('mmpretrain', reason='mmpretrain is missing')

ROOT = Path(__file__).resolve().parents[1] / 'configs'
FOLDERS = (
    'do_conv/cifar',
    'do_conv/imagenet',
    'psconv/cifar',
    'psconv/imagenet',
    'ic_conv/imagenet',
)
CONFIGS = [
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in sorted((ROOT / folder).glob('*.py'))
]
CHANGED = [name for name in CONFIGS if re.search('/(do|ps|ic)-', name)]
PLAIN = [name for name in CONFIGS if name not in CHANGED]
SEARCHED = [name for name in CHANGED if '/ic-' in name and 'supernet' not in name]
# Its pattern stands in two files, see tests/test_imagenet_starts.py.
C4 = 'ic_conv/imagenet/ic-r50-k9-c4-crowdhuman_100e_in1k.py'
LAYERS = (DOConv2d, PSConv2d, MaskedPSConv2d, WideConv2d, ICConv2d)

# Rows of the papers' tables: DO-Conv 1 to 3, 6 to 8; PSConv 1, 3 to 6; Inception Convolution 1;
# and the backbones of the detectors and pose estimators of the last two.
CIFAR = ['plain20'] + [f'r{depth}-v{v}' for v in (1, 2) for depth in (20, 56, 110, 164)]
IMAGENET = {
    'do_conv': ['plain18']
    + [f'r{depth}-{v}' for v in ('v1', 'v1b', 'v2') for depth in (18, 34, 50, 101, 152)]
    + ['mobilenetv1', 'mobilenetv2', 'mobilenetv3', 'x50-32x4d'],
    'psconv': ['r50', 'r101', 'x50-32x4d', 'x101-32x4d', 'se-r50', 'se-r101'],
    'ic_conv': ['mobilenetv2', 'r18', 'r50', 'r101', 'x101-32x4d'],
}
# Epochs of DO-Conv's networks where they are not 120.
DO_EPOCHS = {
    'r152-v1': 180,
    'r152-v1b': 180,
    'mobilenetv2': 480,
    'mobilenetv3': 360,
    'x50-32x4d': 200,
}
IC_POSE = ['r50', 'r101']
PS_STEPS = ['r50', 'r101', 'x101-32x4d']
PATTERNS = {
    'ps.t1.r50': (1, 2, 1, 4),
    'ps.t3.r50.t2': (1, 2),
    'ps.t3.r50.t4': (1, 2, 1, 1),
    'ps.t3.r50.t8': (1, 2, 1, 1, 1, 1, 1, 1),
    'ps.t4.r50.p1411': (1, 4, 1, 1),
    'ps.text.r50.p1248': (1, 2, 4, 8),
}
# Millions of parameters that the papers and their tables print.
MILLIONS = {
    'psconv/imagenet/r50_120e_in1k.py': 25.557,
    'do_conv/imagenet/mobilenetv1_120e_in1k.py': 4.232,
    'do_conv/imagenet/r18-v1_120e_in1k.py': 11.690,
    'do_conv/cifar/r20-v1_164e_cifar10.py': 0.270,
    'do_conv/cifar/r110-v2_164e_cifar10.py': 1.728,
}


# Config.fromfile reads a host's whole index of models for each of its files that it inherits.
read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)


@functools.lru_cache(maxsize=None)
def load(name):
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(ROOT / name)


def build(model, device='meta'):
    """Build a model, on the meta device where no test needs its values: it draws no weights."""
    # mmpretrain's ResNet reads the values of one.
    linspace = mock.patch('torch.linspace', functools.partial(torch.linspace, device='cpu'))
    scope = DefaultScope.overwrite_default_scope('mmpretrain')
    with scope, linspace, torch.device(device):
        return MODELS.build(ConfigDict(copy.deepcopy(model)))


def plain_name(name):
    """The config of the plain network that one of a method is compared with."""
    name = re.sub('/(do|ps|ic)-', '/', name)
    name = re.sub(r'-k\d+(-c4-crowdhuman)?(-supernet)?_', '_', name)
    return name.replace('-stage0_', '_')


@functools.lru_cache(maxsize=None)
def convolutions(name):
    """Kernel shape and kind of every convolution of a config's backbone, by name."""
    return {
        layer: (tuple(conv.weight.shape), conv.kernel_size, type(conv))
        for layer, conv in build(load(name).model).backbone.named_modules()
        if isinstance(conv, nn.Conv2d)
    }


def plain_backbone(backbone):
    """The config of a backbone without the method."""
    if backbone['type'].startswith('build_'):
        return plain_backbone(backbone['model'])
    return {key: value for key, value in backbone.items() if key != 'conv_cfg'}


def test_configs_are_those_of_the_papers_tables():
    expected = set()
    for data in ('cifar10', 'cifar100'):
        for net in CIFAR:
            expected |= {f'do_conv/cifar/{prefix}{net}_164e_{data}.py' for prefix in ('', 'do-')}
    # Other stages are options of the rows, see tests/test_do_conv_recipes.py.
    expected |= {
        'do_conv/cifar/do-r20-v2-stage0_164e_cifar100.py',
        'do_conv/imagenet/do-r50-v1b-stage0_120e_in1k.py',
    }
    for net in ('x29-8x64d', 'x29-16x64d'):
        expected |= {f'psconv/cifar/{prefix}{net}_300e_cifar100.py' for prefix in ('', 'ps-')}
    for folder, prefix in (('do_conv', 'do'), ('psconv', 'ps')):
        for net in IMAGENET[folder]:
            epochs = DO_EPOCHS.get(net, 120) if prefix == 'do' else 120
            expected |= {
                f'{folder}/imagenet/{name}_{epochs}e_in1k.py' for name in (net, f'{prefix}-{net}')
            }
    for net in PS_STEPS:
        expected |= {f'psconv/imagenet/{prefix}{net}_100e_in1k.py' for prefix in ('', 'ps-')}
    for net in IMAGENET['ic_conv']:
        expected |= {
            f'ic_conv/imagenet/{name}_100e_in1k.py'
            for name in (net, f'ic-{net}-k9', f'ic-{net}-k9-supernet')
        }
    for net in IC_POSE:
        expected |= {
            f'ic_conv/imagenet/ic-{net}-k13{part}_100e_in1k.py' for part in ('', '-supernet')
        }
    assert set(CONFIGS) == expected | {C4}


@pytest.mark.parametrize('name', PLAIN)
def test_plain_network_is_what_the_name_says(name):
    cfg = load(name)
    assert not any(kind in LAYERS for _, _, kind in convolutions(name).values())
    backbone = cfg.model.backbone
    net = Path(name).name.partition('_')[0]
    depth = re.match(r'(?:se-)?(?:r|x|plain)(\d+)', net)
    if depth:
        assert backbone.depth == int(depth[1])
    kinds = {f'mobilenetv{v}': f'MobileNetV{v}' for v in (1, 2, 3)}
    kinds.update({'-v2': 'PreActResNet', 'plain': 'PlainNet', 'se-': 'SEResNet', 'x': 'ResNeXt'})
    kind = next((kind for part, kind in kinds.items() if part in net), 'ResNet')
    assert backbone.type == ('CIFAR' if 'cifar' in name else '') + kind
    basic = 'in1k' in name and depth and depth[1] in ('18', '34')  # without bottlenecks
    if net.endswith('-v1') and not basic:
        assert backbone.style == 'caffe'
    elif net.endswith('-v1b'):
        assert backbone.style == 'pytorch'
    groups = re.search(r'-(\d+)x(\d+)d', net)
    if groups:
        assert (backbone.groups, backbone.width_per_group) == (int(groups[1]), int(groups[2]))
    classes = {'cifar10': 10, 'cifar100': 100, 'in1k': 1000}[Path(name).stem.rpartition('_')[2]]
    dataset = {10: 'CIFAR10', 100: 'CIFAR100', 1000: 'ImageNet'}[classes]
    assert (cfg.model.head.num_classes, cfg.data_preprocessor.num_classes) == (classes, classes)
    assert {cfg[f'{part}_dataloader'].dataset.type for part in ('train', 'val')} == {dataset}


@pytest.mark.parametrize('name', MILLIONS)
def test_network_has_the_papers_parameters(name):
    model = build(load(name).model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 3) == MILLIONS[name]


@pytest.mark.parametrize('name', CHANGED)
def test_config_differs_from_the_plain_one_in_the_convolutions_only(name):
    ours, plain = (load(key).to_dict() for key in (name, plain_name(name)))
    backbone = ours['model'].pop('backbone')
    assert plain_backbone(backbone) == plain['model'].pop('backbone')
    assert ours == plain


@pytest.mark.parametrize('name', [name for name in CHANGED if name not in SEARCHED])
def test_method_is_in_the_layers_of_the_paper(name):
    found, plain = convolutions(name), convolutions(plain_name(name))
    kernels = {'do': [(3, 3), (5, 5), (7, 7)], 'ps': [(3, 3)], 'ic': [(3, 3)]}
    kind = re.search('/(do|ps|ic)-', name)[1]
    expected = {
        layer
        for layer, (_, kernel, _) in plain.items()
        if kernel in kernels[kind]
        and not (kind == 'ps' and layer == 'conv1')
        and ('-stage0_' not in name or layer == 'conv1')
    }
    assert {layer for layer, (_, _, type_) in found.items() if type_ in LAYERS} == expected
    for layer, (shape, *_) in found.items():
        out, depth_in, *taps = plain[layer][0]
        if layer in expected and kind == 'ic':
            taps = [int(re.search(r'-k(\d+)-', name)[1])] * 2
        assert shape == (out, depth_in, *taps), layer


@pytest.mark.parametrize('name', [name for name in SEARCHED if name != C4])
def test_searched_network_has_the_parameters_of_the_plain_one(name, tmp_path):
    model = copy.deepcopy(load(name).model)
    pattern = ROOT / Path(name).parent / 'patterns' / f'{Path(name).stem}.json'
    assert Path(model.backbone.pattern) == pattern
    assert re.sub(r'(-k\d+)_', r'\1-supernet_', name) in CONFIGS
    plain = convolutions(plain_name(name))
    searched = {layer: shape for layer, (shape, kernel, _) in plain.items() if kernel == (3, 3)}
    generator = torch.Generator().manual_seed(0)
    network = build(load(plain_name(name)).model)
    layers = {}
    for layer in searched:
        conv = network.backbone.get_submodule(layer)
        dilations = torch.randint(1, 5, (conv.out_channels, 2), generator=generator)
        layers[layer] = LayerPattern(dilations, (3, 3), conv.in_channels, conv.groups)
    model.backbone.pattern = str(tmp_path / 'pattern.json')
    DilationPattern(layers, 'edo').save(model.backbone.pattern)
    built = build(model, 'cpu')
    assert {n for n, m in built.backbone.named_modules() if isinstance(m, ICConv2d)} == set(
        searched
    )
    assert sum(p.numel() for p in built.parameters()) == sum(
        p.numel() for p in network.parameters()
    )


def build_row(key, device='meta'):
    """Build the model of a row, with its options."""
    row = read_rows()[key]
    cfg = copy.deepcopy(load(row.config))
    cfg.merge_from_dict(row.options)
    return build(cfg.model, device)


@pytest.mark.parametrize('row', PATTERNS)
def test_ps_ablation_has_its_pattern(row):
    model = build_row(row)
    convs = [conv for conv in model.modules() if isinstance(conv, PSConv2d)]
    assert len(convs) == 16
    assert {(conv.pattern, conv.axes) for conv in convs} == {(PATTERNS[row], 'both')}


@pytest.mark.parametrize('axis', ['input', 'output'])
def test_ps_axis_ablation_varies_along_one_axis(axis):
    model = build_row(f'ps.t5.r50.{axis[:-3]}_only', 'cpu')
    dilations = model.backbone.layer1[0].conv2.dilations
    across = dilations if axis == 'output' else dilations.T
    assert (across == across[:, :1]).all()
    assert across[:4, 0].tolist() == [1, 2, 1, 4]


def test_ps_mask_ablation_learns_its_dilations():
    model = build_row('ps.text.r50.dynamic_mask')
    assert sum(isinstance(conv, MaskedPSConv2d) for conv in model.modules()) == 16


# Training

IMAGENET_OTHERS = [name for name in CONFIGS if 'imagenet' in name and 'do_conv' not in name]
IMAGENET_DO = [name for name in CONFIGS if 'do_conv/imagenet' in name]


def rates(cfg, epoch_length):
    """Learning rate of each epoch's first iteration, and of all iterations of the first two."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = cfg.param_scheduler
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    arguments = dict(optimizer=optimizer, epoch_length=epoch_length)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = [PARAM_SCHEDULERS.build(dict(one), default_args=arguments) for one in schedulers]
    optimizer.step()  # the schedulers want one before theirs
    epochs, first = [], []
    for epoch in range(cfg.train_cfg.max_epochs):
        epochs.append(optimizer.param_groups[0]['lr'])
        for _ in range(epoch_length):
            if epoch < 2:
                first.append(optimizer.param_groups[0]['lr'])
            for scheduler in built:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in built:
            if scheduler.by_epoch:
                scheduler.step()
    return epochs, first, optimizer.param_groups[0]['lr']


def is_warmed_up(name):
    """He et al. warm up 110 layers, and all networks of the ResNet-v2 paper."""
    return bool(re.search('-v2|r110|r164', name))


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'do_conv/cifar' in name])
def test_cifar_resnet_trains_as_he_et_al(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 0.1, 0.9)
    assert optimizer.weight_decay == 1e-4
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    assert cfg.train_cfg.max_epochs == 164
    schedulers = cfg.param_scheduler
    steps = schedulers[-1] if is_warmed_up(name) else schedulers
    assert (steps.type, steps.milestones, steps.gamma) == ('MultiStepLR', [82, 123], 0.1)
    assert isinstance(schedulers, list) == is_warmed_up(name)


@pytest.mark.parametrize('warm', [False, True])
def test_cifar_rate_falls_at_32k_and_48k_iterations(warm):
    name = f'do_conv/cifar/r{"110" if warm else "20"}-v1_164e_cifar10.py'
    epochs, first, _ = rates(load(name), 391)  # 50k images in batches of 128
    begin = 0.01 if warm else 0.1
    expected = [begin] * 400 + [0.1] * (2 * 391 - 400)
    assert first == pytest.approx(expected)
    assert epochs[2:] == pytest.approx([0.1] * 80 + [0.01] * 41 + [0.001] * 41)


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'psconv/cifar' in name])
def test_cifar_resnext_trains_as_xie_et_al(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 0.1, 0.9)
    assert optimizer.weight_decay == 5e-4
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    epochs, _, _ = rates(cfg, 1)
    assert epochs == pytest.approx([0.1] * 150 + [0.01] * 75 + [0.001] * 75)


@pytest.mark.parametrize('name', IMAGENET_OTHERS)
def test_imagenet_schedule_is_the_papers(name):
    cfg = load(name)
    step_wise = 'psconv' in name and '_100e_' in name
    rate, batch, length = (0.4, 1024, 100) if 'ic_conv' in name else (0.1, 256, 120)
    if step_wise:
        length = 100
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', rate, 0.9)
    assert optimizer.weight_decay == 1e-4
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.train_cfg.max_epochs == length
    assert int(re.search(r'_(\d+)e_', name)[1]) == length
    best = cfg.default_hooks.checkpoint.get('save_best')
    schedule = cfg.param_scheduler
    if step_wise:
        steps = (schedule.type, schedule.milestones, schedule.gamma)
        assert steps == ('MultiStepLR', [30, 60, 90], 0.1)
        assert best is None
        return
    assert schedule.type == 'CosineAnnealingLR'
    assert (schedule.begin, schedule.end, schedule.T_max) == (0, length, length)
    assert best == ('accuracy/top1' if 'psconv' in name else None)


def test_imagenet_rate_follows_half_a_cosine_to_zero():
    cfg = load('psconv/imagenet/r50_120e_in1k.py')
    epochs, first, last = rates(cfg, 10)
    steps = torch.arange(1201).double() / 1200
    cosine = 0.05 * (1 + torch.cos(torch.pi * steps))
    assert epochs == pytest.approx(cosine[:-1:10].tolist())
    assert first == pytest.approx(cosine[:20].tolist())
    assert last == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ('name', 'side'),
    [
        ('do_conv/cifar/do-r164-v2_164e_cifar100.py', 32),
        ('do_conv/cifar/plain20_164e_cifar10.py', 32),
        ('do_conv/imagenet/do-r18-v2_120e_in1k.py', 64),
        ('do_conv/imagenet/mobilenetv1_120e_in1k.py', 64),
        ('do_conv/imagenet/do-mobilenetv3_360e_in1k.py', 64),
        ('psconv/imagenet/ps-se-r50_120e_in1k.py', 64),
        ('ic_conv/imagenet/ic-mobilenetv2-k9-supernet_100e_in1k.py', 64),
    ],
)
def test_network_and_head_fit(name, side):
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    model = build(load(name).model, 'cpu').train()
    samples = [DataSample().set_gt_label(label) for label in (0, 9)]
    losses = model(torch.randn(2, 3, side, side), samples, mode='loss')
    losses['loss'].backward()
    assert losses['loss'].isfinite()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize('name', CONFIGS)
def test_training_accuracy_is_logged(name):
    """Where labels are mixed, no guess is right: MMPretrain refuses to compute it."""
    cfg = load(name)
    mixed = 'do_conv/imagenet' in name and 'x50' in name
    assert cfg.model.head.get('cal_acc', False) != mixed
    assert mixed or not cfg.model.get('train_cfg', {}).get('augments')
    assert cfg.default_hooks.logger.ignore_last is False
    (mean,) = cfg.log_processor.custom_cfg
    assert mean == dict(data_src='accuracy_top-1', method_name='mean', window_size='epoch')
