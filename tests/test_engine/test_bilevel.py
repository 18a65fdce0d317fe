"""The bilevel search through the Runner: what each step moves, stopping, processes."""

import json
import re
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    TOOLS,
    call_tool,
    free_port,
    load_state,
    run_command,
    run_tool,
    write_detector_config,
    write_kill_hook,
)
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmic.analysis.show import count_dilations
from mmic.datasets import split_holdout
from mmic.models import ICResNet, NATSResNet
from mmic.pattern import DilationPattern

# A search of 3 epochs of 3 iterations, alpha frozen in the first.
SEARCH = """
model['backbone'].update(depth=50, base_channels=4)
model['neck']['in_channels'] = [16, 32, 64, 128]
train_dataloader['dataset']['ann_file'] = '@SPLIT@/nats_weights.json'
alpha_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(train_dataloader['dataset'], ann_file='@SPLIT@/nats_alpha.json'))
train_cfg = dict(
    type='BilevelTrainLoop', max_epochs=3, freeze_epochs=1, val_interval=10,
    alpha_dataloader=alpha_dataloader)
optim_wrapper.update(
    constructor='BilevelOptimWrapperConstructor',
    alpha_optimizer=dict(type='Adam', lr=0.05, weight_decay=1e-5))
param_scheduler = dict(weights=param_scheduler, alpha=[])
val_dataloader = val_evaluator = val_cfg = None
custom_hooks = [dict(type='NATSHook')]
"""
SUPERNET = dict(type='NATSResNet', genotypes='C', num_groups=4)


@pytest.fixture(scope='module')
def splits(toy_data, tmp_path_factory):
    """Folder of the two parts of the toy training data: 6 and 2 images."""
    folder = tmp_path_factory.mktemp('splits')
    names = ('nats_weights', 'nats_alpha')
    split_holdout(toy_data / 'annotations' / 'train.json', folder, num=2, names=names)
    return folder


@pytest.fixture(scope='module')
def write_config(toy_data, splits, tmp_path_factory):
    """A function that writes the config of the search, with further lines."""

    def write(extra='', **backbone):
        path = tmp_path_factory.mktemp('config') / 'search.py'
        text = SEARCH.replace('@SPLIT@', splits.as_posix()) + extra
        return write_detector_config(path, toy_data, text, **(backbone or SUPERNET))

    return write


@pytest.fixture(scope='module')
def search(write_config, tmp_path_factory):
    """A finished search by ``tools/train.py``."""
    folder = tmp_path_factory.mktemp('search') / 'run'
    config = write_config(
        "vis_backends = [dict(type='TensorboardVisBackend')]\n"
        "visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends)\n",
    )
    log = run_tool('train.py', config, '--work-dir', folder)
    states = [load_state(folder / f'epoch_{epoch}.pth') for epoch in (1, 2, 3)]
    return SimpleNamespace(config=config, folder=folder, log=log, states=states)


def build_runner(config, folder):
    cfg = Config.fromfile(config)
    cfg.work_dir = str(folder)
    cfg.launcher = 'none'
    init_default_scope('mmdet')
    return Runner.from_cfg(cfg)


def is_alpha(name):
    return name.endswith('.alpha')


def test_alpha_is_frozen_first_and_moves_then(search):
    first, second, third = search.states
    alphas = [name for name in first if is_alpha(name)]
    assert len(alphas) == 4 + 6 + 3
    for name in alphas:
        assert (first[name] == 0).all(), name
        assert (second[name] != 0).any(), name
        assert not torch.equal(second[name], third[name]), name
    moved = 'backbone.layer4.0.conv2.weights.8'
    assert not torch.equal(first[moved], second[moved])
    assert 'alpha_entropy: 1.0000' in search.log
    assert 'alpha_loss' in search.log
    assert 'layer2.0.conv2: 8 x (1, 1); 1.000' in search.log


def test_patterns_are_written_with_every_checkpoint(search):
    for epoch, state in zip((1, 2, 3), search.states):
        pattern = DilationPattern.load(search.folder / 'patterns' / f'epoch_{epoch}.json')
        assert pattern.scope == 'backbone'
        assert pattern.stage_blocks == [3, 4, 6, 3]
        for name, layer in pattern.layers.items():
            winners = state[f'backbone.{name}.alpha'].argmax(1).tolist()
            candidates = state[f'backbone.{name}.dilations'].tolist()
            wanted = [
                candidates[w] for w in sorted(winners) for _ in range(layer.out_channels // 4)
            ]
            assert layer.dilations.tolist() == wanted, name
    last = (search.folder / 'pattern.json').read_text()
    assert last == (search.folder / 'patterns' / 'epoch_3.json').read_text()
    assert f'Wrote {search.folder}/pattern.json' in search.log


def test_search_tool_decodes_the_checkpoint(search, tmp_path):
    """With the table, the picture, and the pattern that the hook wrote."""
    out = tmp_path / 'found.json'
    checkpoint = search.folder / 'epoch_3.pth'
    done = call_tool('nats_search.py', search.config, checkpoint, '--out', out)
    assert done.code == 0, done.text
    hooked = DilationPattern.load(search.folder / 'pattern.json')
    found = DilationPattern.load(out)
    assert found.layers == hooked.layers
    assert found.meta['layout'] == 'sorted'
    assert f'Wrote {out}' in done.text
    assert 'layer4.2.conv2' in done.text
    assert (tmp_path / 'found.png').read_bytes().startswith(b'\x89PNG')
    again = call_tool('nats_search.py', search.config, checkpoint, '--out', out)
    assert again.code == 1
    assert 'pass --overwrite' in again.text
    placed = tmp_path / 'placed.json'
    done = call_tool(
        'nats_search.py', search.config, checkpoint, '--out', placed, '--layout', 'position'
    )
    assert done.code == 0, done.text
    for name, layer in DilationPattern.load(placed).layers.items():
        assert count_dilations(layer.dilations) == count_dilations(found.layers[name].dilations)


def test_search_tool_refuses_other_checkpoints(search, tmp_path, supernet):
    done = call_tool(
        'nats_search.py', search.config, supernet.checkpoint, '--out', tmp_path / 'x.json'
    )
    assert done.code == 1
    assert "layer 'backbone.layer2.0.conv2' has no alpha in the checkpoint" in done.text
    checkpoint = tmp_path / 'other.pth'
    state = dict(search.states[2])
    state['backbone.layer2.0.conv2.alpha'] = torch.zeros(2, 5)
    torch.save(dict(state_dict=state), checkpoint)
    done = call_tool('nats_search.py', search.config, checkpoint, '--out', tmp_path / 'x.json')
    assert done.code == 1
    assert 'alpha of shape (2, 5) where the config has (4, 5)' in done.text
    state = dict(search.states[2])
    state['backbone.layer2.0.conv2.alpha'] = torch.full((4, 5), float('nan'))
    torch.save(dict(state_dict=state), checkpoint)
    done = call_tool('nats_search.py', search.config, checkpoint, '--out', tmp_path / 'x.json')
    assert done.code == 1
    assert "'layer2.0.conv2': alpha holds NaN" in done.text
    assert not (tmp_path / 'x.json').exists()


def test_untrained_alpha_is_warned_of(search, tmp_path):
    out = tmp_path / 'x.json'
    done = call_tool('nats_search.py', search.config, search.folder / 'epoch_1.pth', '--out', out)
    assert done.code == 0
    assert '13 of 13 layers have decided next to nothing' in done.text
    for layer in DilationPattern.load(out).layers.values():
        assert (layer.dilations == 1).all()


def test_pattern_is_read_by_all_searched_networks(search):
    """One format: NATSResNet and ICResNet give the same outputs for the same weights."""
    options = dict(depth=50, base_channels=4, pattern=search.folder / 'pattern.json')
    ours, other = NATSResNet(**options), ICResNet(**options)
    other.load_state_dict(ours.state_dict())
    ours.eval()
    other.eval()
    x = torch.randn(1, 3, 64, 64)
    for value, wanted in zip(other(x), ours(x)):
        assert torch.equal(value, wanted)
    assert not any(
        'layer1' in name for name in dict(DilationPattern.load(options['pattern']).layers)
    )
    with pytest.raises(ValueError, match="'layer3.6.conv2' is not in the file"):
        ICResNet(**{**options, 'depth': 101})


def test_tensorboard_gets_the_entropies(search):
    files = list(search.folder.glob('*/vis_data/events*'))
    assert files
    assert b'alpha_entropy/backbone.layer2.0.conv2' in files[0].read_bytes()


def test_step_of_one_leaves_the_other_alone(write_config, tmp_path):
    """Weights do not move in an alpha step, nor alpha in a weight step; gradients survive both."""
    runner = build_runner(write_config(), tmp_path)
    loop = runner.build_train_loop(runner._train_loop)
    runner._train_loop = loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    wrappers = runner.optim_wrapper
    alphas = {id(p) for name, p in runner.model.named_parameters() if is_alpha(name)}
    groups = {
        key: {id(p) for g in wrappers[key].param_groups for p in g['params']}
        for key in ('weights', 'alpha')
    }
    assert groups['alpha'] == alphas
    everything = {id(p) for p in runner.model.parameters()}
    assert groups['weights'] == everything - alphas
    assert wrappers['alpha'].optimizer.defaults['weight_decay'] == 1e-5
    assert type(wrappers['weights'].optimizer).__name__ == 'SGD'
    runner.model.train()
    parameters = dict(runner.model.named_parameters())
    batches = iter(loop.dataloader), iter(loop.alpha_dataloader)
    for moved, batch in zip(('weights', 'alpha'), map(next, batches)):
        before = {name: value.detach().clone() for name, value in parameters.items()}
        for value in parameters.values():
            value.grad = torch.full_like(value, 0.25)
        if moved == 'weights':
            wrappers['weights'].zero_grad()
        else:
            wrappers['alpha'].zero_grad()
        loop._step(moved, batch)
        for name, value in parameters.items():
            if is_alpha(name) == (moved == 'alpha'):
                continue
            assert torch.equal(value, before[name]), name
            assert (value.grad == 0.25).all(), name
        changed = [n for n, v in parameters.items() if not torch.equal(v, before[n])]
        assert len(changed) > 10
        assert all(is_alpha(name) == (moved == 'alpha') for name in changed)


def test_alpha_split_starts_again_and_is_drawn_anew(write_config, tmp_path):
    """2 images of alpha's split for 3 iterations; another order in other epochs."""
    runner = build_runner(write_config(), tmp_path)
    loop = runner.build_train_loop(runner._train_loop)

    def order(epoch, count):
        loop._epoch = epoch
        batches = loop._draw_alpha_batches()
        return [next(batches)['data_samples'][0].img_id for _ in range(count)]

    first = order(1, 6)
    assert all(set(first[start : start + 2]) == set(first) for start in (0, 2, 4))
    assert len(set(first)) == 2
    assert order(1, 6) == first
    assert any(order(epoch, 6) != first for epoch in range(2, 6))


@pytest.mark.parametrize(
    ('extra', 'told'),
    [
        ("train_cfg['freeze_epochs'] = 3", 'freeze_epochs must be from 0 to max_epochs - 1 = 2'),
        (
            "alpha_dataloader['dataset']['ann_file'] = 'annotations/train.json'",
            'train_dataloader (weights) and alpha_dataloader share 6 image(s)',
        ),
        (
            "optim_wrapper.pop('constructor')\noptim_wrapper.pop('alpha_optimizer')\n"
            'param_scheduler = []',
            'BilevelTrainLoop needs an optimizer for alpha',
        ),
        (
            "model['backbone'].pop('genotypes')\nmodel['backbone'].pop('num_groups')\n"
            "model['backbone']['type'] = 'ResNet'",
            'the model has no alpha to train',
        ),
        (
            "model['backbone']['depth'] = 18\nmodel['neck']['in_channels'] = [4, 8, 16, 32]",
            'depth=18 is made of basic blocks',
        ),
        ("model['backbone']['num_groups'] = 3", "'layer2.0.conv2': num_groups=3 does not divide 8"),
    ],
)
def test_bad_searches_stop_before_training(write_config, tmp_path, extra, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        build_runner(write_config(extra + '\n'), tmp_path).train()
    assert not list(tmp_path.glob('*.pth'))


def test_gradients_accumulate_for_both(write_config, tmp_path):
    """Two batches a step are one step of the mean gradient; the last one comes alone."""
    config = write_config("optim_wrapper['accumulative_counts'] = 2\ntrain_cfg['max_epochs'] = 2\n")
    runner = build_runner(config, tmp_path)
    steps = dict(weights=0, alpha=0)
    train_loop = runner.build_train_loop(runner._train_loop)
    runner._train_loop = train_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    for key in steps:
        optimizer = runner.optim_wrapper[key].optimizer

        def count(*args, key=key, step=optimizer.step, **kwargs):
            steps[key] += 1
            return step(*args, **kwargs)

        optimizer.step = count
    runner.train()
    # 6 weight steps of 3 batches an epoch, two at a time; alpha has 3 batches.
    assert steps == dict(weights=3, alpha=2)


def test_averaged_alpha_is_decoded(write_config, tmp_path):
    """With EMAHook the checkpoint's alpha, and so its pattern, is the averaged one."""
    runner = build_runner(
        write_config("custom_hooks += [dict(type='EMAHook', momentum=0.5)]\n"), tmp_path
    )
    runner.train()
    state = load_state(tmp_path / 'epoch_3.pth')
    model = dict(runner.model.named_parameters())
    name = 'backbone.layer4.2.conv2'
    assert not torch.equal(state[f'{name}.alpha'], model[f'{name}.alpha'])
    layer = DilationPattern.load(tmp_path / 'pattern.json').layers['layer4.2.conv2']
    winners = sorted(state[f'{name}.alpha'].argmax(1).tolist())
    candidates = state[f'{name}.dilations'].tolist()
    assert layer.dilations[:: layer.out_channels // 4].tolist() == [candidates[w] for w in winners]


def test_killed_and_resumed_search_ends_as_the_uninterrupted(write_config, search, tmp_path):
    """Killed in the second alternating epoch, after its first iteration."""
    write_kill_hook(tmp_path)
    config = write_config(
        "custom_imports = dict(imports=['mmic', 'kill_hook'], allow_failed_imports=False)\n"
        "custom_hooks += [dict(type='KillHook')]\n"
    )
    options = dict(PYTHONPATH=str(tmp_path))
    folder = tmp_path / 'run'
    printed = run_tool(
        *('train.py', config, '--work-dir', folder),
        code=-signal.SIGKILL,
        KILL_BEFORE='7',
        **options,
    )
    assert 'Epoch(train) [3][1/3]' in printed
    assert not (folder / 'epoch_3.pth').exists()
    printed = run_tool('train.py', config, '--work-dir', folder, '--resume', **options)
    assert 'resumed epoch: 2, iter: 6' in printed
    state = load_state(folder / 'epoch_3.pth')
    assert state.keys() == search.states[2].keys()
    for name, value in search.states[2].items():
        assert torch.equal(value, state[name]), name
    patterns = [json.loads((f / 'pattern.json').read_text()) for f in (folder, search.folder)]
    assert patterns[0] == patterns[1]


# Each process saves its own alpha after 20 steps.
SAVER = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SaveHook(Hook):
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 19:
            state = runner.model.module.state_dict()
            torch.save({'state_dict': state}, f'{runner.work_dir}/rank_{get_rank()}.pth')
"""


def test_alpha_is_the_same_in_two_processes(write_config, tmp_path):
    (tmp_path / 'save_hook.py').write_text(SAVER)
    config = write_config(
        "custom_imports = dict(imports=['mmic', 'save_hook'], allow_failed_imports=False)\n"
        "custom_hooks += [dict(type='SaveHook')]\n"
        "train_dataloader['batch_size'] = 1\n"
        'train_cfg.update(max_epochs=7, freeze_epochs=0)\n'
    )
    run_command(
        *('bash', TOOLS / 'dist_train.sh', config, 2, '--work-dir', tmp_path / 'run'),
        PYTHON=sys.executable,
        PORT=str(free_port()),
        PYTHONPATH=str(tmp_path),
    )
    first, second = (load_state(tmp_path / 'run' / f'rank_{rank}.pth') for rank in (0, 1))
    alphas = [name for name in first if is_alpha(name)]
    assert len(alphas) == 13
    for name in alphas:
        assert (first[name] != 0).any()
        assert torch.equal(first[name], second[name]), name
    for name, value in first.items():
        if '.weights.' in name:
            assert torch.equal(value, second[name]), name


def test_names_are_registered_twice():
    from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPER_CONSTRUCTORS

    for registry, name in (
        (HOOKS, 'NATSHook'),
        (LOOPS, 'BilevelTrainLoop'),
        (OPTIM_WRAPPER_CONSTRUCTORS, 'BilevelOptimWrapperConstructor'),
    ):
        assert registry.get(name) is registry.get(f'mmic.{name}')
