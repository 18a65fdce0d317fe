"""DO-Conv's classifiers train as GluonCV's model zoo trains them (section 4.1 of the paper).

The recipes are typed in from the commands that the zoo publishes, one line for each network.
"""

import copy
import functools
import math
import re
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import cv2
import mmengine
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from torch import nn

from mmic.engine.reproduce import config_of as config_of_step
from mmic.engine.reproduce import inputs_of, steps_of
from mmic.engine.rows import read_rows
from mmic.layers import DOConv2d

pytest.importorskip('mmpretrain', reason='mmpretrain is missing')

FOLDER = ROOT / 'configs' / 'do_conv' / 'imagenet'


class Recipe(NamedTuple):
    """What a command of the zoo sets; the defaults are those of most networks."""

    epochs: int = 120
    batch: int = 1024
    rate: float = 0.4
    weight_decay: float = 1e-4
    factor: float = 0  # of the rate from epoch to epoch; 0 for half a cosine after a warm-up
    last_gamma: bool = False
    no_decay: bool = False
    smoothing: bool = False
    mixup: bool = False


V1B = Recipe(last_gamma=True)
RECIPES = {
    **{f'r{depth}-v1': Recipe() for depth in (18, 34, 50, 101)},
    'r152-v1': Recipe(180),
    **{f'r{depth}-v1b': V1B for depth in (18, 34, 50, 101)},
    'r152-v1b': V1B._replace(epochs=180),
    **{f'r{depth}-v2': Recipe() for depth in (18, 34, 50, 101, 152)},
    'plain18': Recipe(),
    'mobilenetv1': Recipe(no_decay=True, smoothing=True),
    'mobilenetv2': Recipe(480, 160, 0.045, 4e-5, 0.98),
    # Its command asks for the last gamma too, which GluonCV's network leaves aside.
    'mobilenetv3': Recipe(360, 2048, 2.6, 3e-5, no_decay=True, smoothing=True),
    'x50-32x4d': Recipe(200, last_gamma=True, no_decay=True, smoothing=True, mixup=True),
}
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))
# Each recipe, and all that differs in how a network is built.
KINDS = ['do-r18-v1', 'do-r18-v1b', 'r18-v2', 'plain18', 'do-mobilenetv1', 'mobilenetv2']
KINDS += ['do-mobilenetv3', 'x50-32x4d']


@functools.lru_cache(maxsize=None)
def load(name):
    # Config.fromfile reads a host's whole index of models for each of its files.
    read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(FOLDER / name)


def recipe_of(name):
    """A config's recipe; that of Table 6 changes the network of another one."""
    network = re.sub(r'^do-|_\d+e_in1k(\.py)?$|-stage0', '', name)
    return RECIPES[network]


def config_of(network):
    return load(f'{network}_{recipe_of(network).epochs}e_in1k.py')


def build(network):
    """The network as a training starts it."""
    cfg = copy.deepcopy(config_of(network))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(ConfigDict(cfg.model, data_preprocessor=cfg.data_preprocessor))
        model.init_weights()
    return model


def rates_of(cfg, steps):
    """The learning rate of every iteration of a training with so many steps an epoch."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), cfg.optim_wrapper.optimizer.lr)
    arguments = dict(optimizer=optimizer, epoch_length=steps)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = [
            PARAM_SCHEDULERS.build(dict(s), default_args=arguments) for s in cfg.param_scheduler
        ]
    optimizer.step()  # the schedulers want one before theirs
    rates = []
    for iteration in range(1, cfg.train_cfg.max_epochs * steps + 1):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in built:
            if not scheduler.by_epoch or iteration % steps == 0:
                scheduler.step()
    return rates


def expected_rate(recipe, epoch):
    """The rate at a time in epochs, by GluonCV's scheduler."""
    if recipe.factor:
        return recipe.rate * recipe.factor ** int(epoch)
    if epoch < 5:
        return recipe.rate * epoch / 5
    return recipe.rate * (1 + math.cos(math.pi * (epoch - 5) / (recipe.epochs - 5))) / 2


def test_every_network_has_its_recipe():
    networks = {re.sub(r'^do-|_\d+e_in1k\.py$', '', name) for name in CONFIGS}
    assert networks - {'r50-v1b-stage0'} == set(RECIPES)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_has_the_numbers_of_the_recipe(name):
    cfg, recipe = load(name), recipe_of(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum, optimizer.nesterov) == ('SGD', 0.9, True)
    assert (optimizer.lr, optimizer.weight_decay) == (recipe.rate, recipe.weight_decay)
    assert cfg.train_dataloader.batch_size * 8 == recipe.batch
    assert cfg.auto_scale_lr.base_batch_size == recipe.batch
    assert cfg.train_cfg.max_epochs == recipe.epochs
    assert int(re.search(r'_(\d+)e_', name)[1]) == recipe.epochs
    # Half precision is the user's choice.
    assert cfg.optim_wrapper.get('type', 'OptimWrapper') == 'OptimWrapper'
    assert (cfg.model.head.loss.type == 'LabelSmoothLoss') == recipe.smoothing
    assert bool(cfg.model.get('train_cfg')) == recipe.mixup


@pytest.mark.parametrize(
    'network', ['r50-v1b', 'r152-v1', 'x50-32x4d', 'mobilenetv3', 'mobilenetv2']
)
def test_rate_follows_the_recipe(network):
    steps = 10
    recipe = recipe_of(network)
    found = rates_of(config_of(network), steps)
    expected = [expected_rate(recipe, i / steps) for i in range(recipe.epochs * steps)]
    # mmengine's warm-up starts a little above zero and ends an iteration before its time.
    assert found == pytest.approx(expected, abs=recipe.rate / (5 * steps - 1))
    assert found[5 * steps :] == pytest.approx(expected[5 * steps :])
    assert found[0] == pytest.approx(recipe.rate * (1 if recipe.factor else 1e-4))


@pytest.mark.parametrize('network', KINDS)
def test_what_decays(network):
    recipe = recipe_of(network)
    model = build(network)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        optimizer = build_optim_wrapper(model, config_of(network).optim_wrapper).optimizer
    decay = {
        id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']
    }
    names = dict(model.named_parameters())
    assert len(decay) == len(names)
    for name, parameter in names.items():
        # Vectors are biases and what norms learn; D' is a weight of the convolution.
        spared = recipe.no_decay and parameter.dim() == 1
        assert decay[id(parameter)] == (0 if spared else recipe.weight_decay), name


@pytest.mark.parametrize('network', KINDS)
def test_which_norms_start_at_zero(network):
    recipe = recipe_of(network)
    norms = [m for m in build(network).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    zero = sum(bool((norm.weight == 0).all()) for norm in norms)
    blocks = 8 if 'r18' in network else 16
    assert zero == (blocks if recipe.last_gamma else 0)
    assert all((norm.weight == norm.weight[0]).all() for norm in norms)


@pytest.mark.parametrize(
    ('base', 'later'),
    [
        ('do.t4.deeplabv3.voc', 'seg_only'),
        ('do.t4.deeplabv3.cityscapes', 'seg_only'),
        ('do.t5.faster_rcnn.r50', 'det_only'),
    ],
)
def test_rows_of_two_trainings_differ_in_do_conv_alone(base, later):
    """Tables 4 and 5: nothing, the second training, or both of them have DO-Conv."""
    rows = read_rows()
    chains = [rows[f'{base}.{part}'] for part in ('base', later, 'both')]
    found = [('do-' in Path(r.pretrain).name, 'do-' in Path(r.config).name) for r in chains]
    assert found == [(False, False), (False, True), (True, True)]
    for name in ('pretrain', 'config'):
        # The other tests compare configs that differ by this part of their names.
        names = {re.sub('_do-heads|do-|-rpn', '', getattr(row, name)) for row in chains}
        assert len(names) == 1
    for row in chains:
        steps = steps_of(rows, row.id)
        assert [step.command[0] for step in steps] == ['tools/train.py'] * 2 + ['tools/test.py']
        # No published weights.
        assert inputs_of(steps)[1] == []


@functools.lru_cache(maxsize=None)
def trained(row):
    """The backbone of a row's training, with the options of its command, without weights."""
    step, *_ = steps_of(read_rows(), row)
    # mmpretrain's ResNet reads the values of one.
    linspace = mock.patch('torch.linspace', functools.partial(torch.linspace, device='cpu'))
    scope = DefaultScope.overwrite_default_scope('mmpretrain')
    with scope, linspace, torch.device('meta'):
        return MODELS.build(config_of_step(step).model).backbone


def over_parameterised(backbone):
    return {name: m for name, m in backbone.named_modules() if isinstance(m, DOConv2d)}


# The rows of Table 6 that have DO-Conv in all stages.
EVERYWHERE = {
    'do.t6.cifar100.resnetv2_20': 'do.t1.cifar100.resnetv2_20',
    'do.t6.imagenet.resnetv1b_50': 'do.t2.resnetv1b_50',
}


@pytest.mark.parametrize(
    'row',
    [f'do.t6.cifar100.resnetv2_20.s{stages}' for stages in ('0', '1', '2', '3', '01', '012')]
    + [
        f'do.t6.imagenet.resnetv1b_50.s{stages}'
        for stages in ('0', '1', '2', '3', '4', '01', '012', '0123')
    ],
)
def test_stages_of_table_6(row):
    network, _, stages = row.rpartition('.s')
    everywhere = over_parameterised(trained(EVERYWHERE[network]))
    expected = {name for name in everywhere if (name[5] if 'layer' in name else '0') in stages}
    assert set(over_parameterised(trained(row))) == expected


@pytest.mark.parametrize(('size', 'depth'), [('mn', 9), ('plus2', 25), ('times2', 36)])
def test_multipliers_of_table_8(size, depth):
    row = read_rows()[f'do.t8.resnetv2_20.dmul_{size}']
    layers = over_parameterised(trained(row.same_as or row.id))
    assert len(layers) == 19
    assert {layer.depthwise.shape[:2] for layer in layers.values()} == {(9, depth)}
    assert {layer.weight.flatten(2).shape[2] for layer in layers.values()} == {depth}


@pytest.mark.parametrize('init', ['random', 'identity'])
def test_starts_of_table_7(init):
    row = read_rows()[f'do.t7.resnetv1b_50.{init}_init']
    layers = over_parameterised(trained(row.same_as or row.id))
    assert len(layers) == 17
    assert {layer.init for layer in layers.values()} == {init}


def test_labels_are_smoothed_by_a_tenth():
    head = build('mobilenetv1').head
    scores = torch.randn(4, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 0, 999, 3])
    log = scores.log_softmax(1)
    expected = -(0.9 * log[range(4), labels] + 0.1 * log.mean(1)).mean()
    torch.testing.assert_close(head.loss_module(scores, labels), expected)


def test_images_and_labels_are_mixed():
    from mmpretrain.structures import DataSample

    preprocessor = build('x50-32x4d').data_preprocessor
    (augment,) = preprocessor.batch_augments.augments
    assert augment.alpha == 0.2
    images = torch.arange(0, 256, 32)[:, None, None, None].expand(8, 3, 4, 4)
    samples = [DataSample().set_gt_label(label) for label in range(8)]
    np.random.seed(0)
    torch.manual_seed(0)
    batch = preprocessor(dict(inputs=list(images), data_samples=samples), training=True)
    for image, sample in zip(batch['inputs'], batch['data_samples']):
        # The image's value tells which ones it is of, and in which shares.
        value = (image[0, 0, 0] * preprocessor.std[0] + preprocessor.mean[0]) / 32
        assert sample.gt_score.sum() == pytest.approx(1)
        assert value == pytest.approx(float(sample.gt_score[:8] @ torch.arange(8.0)), abs=1e-4)


@pytest.mark.parametrize('value', [0, 255])
def test_augmentation_keeps_the_range_of_the_values(value, tmp_path):
    """White stays near white: a uint8 image would wrap around."""
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), np.full((64, 64, 3), value, np.uint8))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(load('r50-v1b_120e_in1k.py').train_dataloader.dataset.pipeline)
    np.random.seed(0)
    found = [pipeline(dict(img_path=str(path), gt_label=0))['inputs'] for _ in range(20)]
    assert {tuple(image.shape) for image in found} == {(3, 224, 224)}
    # Brightness and contrast make white darker, by 40 % at most each, and black not lighter.
    low, high = (-20, 20) if value == 0 else (0.6 * 0.6 * 255 - 20, 275)
    assert all(low < image.min() <= image.max() < high for image in found)
    # Lighting shifts the colours of both.
    assert any((image[0, 0, 0] - image[2, 0, 0]).abs() > 0.1 for image in found)


def test_lighting_follows_the_colours_of_images():
    """The main direction of colour is brightness, to which red adds least."""
    steps = load('r50-v1b_120e_in1k.py').train_dataloader.dataset.pipeline
    (lighting,) = [step for step in steps if step.type == 'Lighting']
    vectors = np.array(lighting.eigvec)
    assert vectors.T @ vectors == pytest.approx(np.eye(3), abs=1e-3)
    # In the order of the channels, which are BGR when they are read.
    assert list(np.abs(vectors[:, 0])) == sorted(np.abs(vectors[:, 0]), reverse=True)
