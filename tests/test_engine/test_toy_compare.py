"""The comparison of all methods: its plan, what is run and what is skipped, its tables."""

import argparse
import functools
import json
import threading
from unittest import mock

import numpy as np
import pytest
from helpers import ROOT, call_tool
from mmengine.config import Config, utils

from mmic.engine.step_pool import PlannedStep, StepPool
from mmic.engine.toy_compare import DO, NATS_SUPERNET, NETWORKS, PLAIN, PS, keep_setting, plan
from mmic.engine.toy_results import network_cost, report, seed_results, seed_table, summary, table

pytest.importorskip('mmdet')

SEEDS = (0, 7)
# What each step waits for beside the data, by hand.
NEEDS = {
    'start': (),
    'stage_supernet': (),
    'stage_search': ('stage_supernet',),
    'operation_supernet': ('stage_search',),
    'operation_search': ('stage_search', 'operation_supernet'),
    'cr_start': ('operation_search',),
    'cr': ('operation_search', 'cr_start'),
    'ic_supernet': ('start',),
    'ic_search': ('ic_supernet',),
    'ic': ('start', 'ic_search'),
    'ic_16_search': ('ic_supernet',),
    'ic_16': ('start', 'ic_16_search'),
    'ic_calibrated_search': ('ic_supernet',),
    'ic_calibrated': ('start', 'ic_calibrated_search'),
    'nats_supernet': ('start',),
    'nats_search': ('nats_supernet',),
    'nats': ('start', 'nats_search'),
    'ps': ('start',),
    'do': ('start',),
    'plain': ('start',),
}
TRAININGS = [name for name in NEEDS if not name.endswith('_search')]


@pytest.fixture(scope='module', autouse=True)
def _indices_are_read_once():
    """The packages' indices of configs, which mmengine reads again for every base of a config."""
    with mock.patch.object(utils, 'load', functools.lru_cache(maxsize=None)(utils.load)):
        yield


@pytest.fixture(scope='module')
def steps():
    args = dict(seeds=SEEDS, work_dir=ROOT / 'work_dirs/c', epochs=3, num_train=90, num_val=20)
    return {step.name: step for step in plan(ROOT, argparse.Namespace(**args))}


# --- The plan -----------------------------------------------------------------------------------


def test_every_step_is_planned_once(steps):
    shared = ['data', 'nats_split', 'cr_split']
    assert list(steps)[:3] == shared
    assert set(steps) == {*shared, *(f'seed_{seed}/{name}' for seed in SEEDS for name in NEEDS)}
    assert len({step.key for step in steps.values()}) == 3 + 20 * len(SEEDS)
    trained = [name for name in steps if steps[name].command[0] == 'tools/train.py']
    assert sorted(trained) == sorted(f'seed_{seed}/{name}' for seed in SEEDS for name in TRAININGS)


def test_steps_wait_for_what_they_read(steps):
    assert steps['nats_split'].needs == steps['cr_split'].needs == ('data',)
    for seed in SEEDS:
        for name, needs in NEEDS.items():
            expected = {'data', 'nats_split', 'cr_split', *(f'seed_{seed}/{n}' for n in needs)}
            assert set(steps[f'seed_{seed}/{name}'].needs) == expected, name
    names = list(steps)
    for name, step in steps.items():
        assert all(names.index(needed) < names.index(name) for needed in step.needs)


def test_every_command_has_its_seed(steps):
    for name, step in steps.items():
        if '/' not in name:
            continue
        seed = int(name.split('/')[0][len('seed_') :])
        (other,) = set(SEEDS) - {seed}
        if step.command[0] == 'tools/train.py':
            assert f'randomness.seed={seed}' in step.command
        if step.command[0] == 'tools/cr_search.py':
            assert step.command[step.command.index('--seed') + 1] == str(seed)
        assert f'c/seed_{seed}/' in step.key
        assert f'c/seed_{other}/' not in step.key
        assert all(file.startswith(f'work_dirs/c/seed_{seed}/') for file in step.writes)


def test_budgets_and_starts_are_equal(steps):
    for name in TRAININGS:
        step = steps[f'seed_7/{name}']
        assert 'train_cfg.max_epochs=3' in step.command
        assert step.writes == (f'work_dirs/c/seed_7/{name}/epoch_3.pth',)
        starts = [word for word in step.command if word.startswith('load_from=')]
        if name in ('start', 'cr_start', 'stage_supernet', 'operation_supernet'):
            assert starts == []
        else:
            own = 'cr_start' if name == 'cr' else 'start'
            assert starts == [f'load_from=work_dirs/c/seed_7/{own}/epoch_3.pth']


def test_the_three_searches_of_ic_differ_in_their_flags_alone(steps):
    commands = {
        name: list(steps[f'seed_0/{name}_search'].command)
        for name in ('ic', 'ic_16', 'ic_calibrated')
    }
    assert {command[2] for command in commands.values()} == {
        'work_dirs/c/seed_0/ic_supernet/epoch_3.pth'
    }
    assert commands['ic_16'][commands['ic_16'].index('--multiple') + 1] == '16'
    calibrated = commands['ic_calibrated']
    # On training images, read from this comparison's folder.
    assert calibrated[calibrated.index('--samples') + 1] == '64'
    assert 'train_dataloader.dataset.data_root=work_dirs/c/data' in calibrated
    assert not {'--multiple', '--statistics'} & set(commands['ic'])
    for name in commands:
        pattern = f'model.backbone.pattern=work_dirs/c/seed_0/{name}.json'
        assert pattern in steps[f'seed_0/{name}'].command


@pytest.mark.parametrize('config', [PS, DO])
def test_configs_differ_in_the_backbone_alone(config):
    plain, other = (Config.fromfile(ROOT / path).to_dict() for path in (PLAIN, config))
    assert plain['model'].pop('backbone') != other['model'].pop('backbone')
    other.pop('custom_imports')
    assert plain == other


def test_nats_searches_in_the_plain_network():
    plain, supernet = (Config.fromfile(ROOT / path).model for path in (PLAIN, NATS_SUPERNET))
    for part in plain:
        if part != 'backbone':
            assert plain[part] == supernet[part], part
    for key in ('depth', 'base_channels', 'norm_eval'):
        assert plain.backbone[key] == supernet.backbone[key], key


def test_a_folder_has_one_setting(tmp_path):
    args = dict(work_dir=tmp_path / 'new', seeds=[0], epochs=6, num_train=400, num_val=240)
    for seeds in ([0], [0, 1]):
        keep_setting(argparse.Namespace(**{**args, 'seeds': seeds}))
    for name in ('epochs', 'num_train', 'num_val'):
        with pytest.raises(ValueError, match=rf"new holds .*'{name}': {args[name]}\b.* --work-dir"):
            keep_setting(argparse.Namespace(**{**args, name: 5}))


# --- What is run --------------------------------------------------------------------------------

CHAIN = [
    PlannedStep('data', ('draw',), ('data.json',)),
    PlannedStep('start', ('train', 'start'), ('start.pth',), ('data',)),
    PlannedStep('plain', ('train', 'plain'), ('plain.pth',), ('data', 'start')),
    PlannedStep('alone', ('train', 'alone'), ('alone.pth',), ('data',)),
]


def run_chain(folder, steps=CHAIN, jobs=1, fails=()):
    """Run steps that write their names; return those that ran, in order, and the error."""
    ran = []

    def run(step):
        ran.append(step.name)
        if step.name in fails:
            raise RuntimeError(f'{step.name} failed')
        for file in step.writes:
            (folder / file).write_text(step.name)

    try:
        StepPool(folder, folder / 'journal.json', run, jobs).run(steps)
    except RuntimeError as error:
        return ran, str(error)
    return ran, None


def test_finished_steps_are_skipped(tmp_path):
    assert run_chain(tmp_path) == (['data', 'start', 'plain', 'alone'], None)
    assert run_chain(tmp_path) == ([], None)


def test_a_lost_file_is_made_again_with_all_that_needs_it(tmp_path):
    run_chain(tmp_path)
    (tmp_path / 'start.pth').unlink()
    assert run_chain(tmp_path) == (['start', 'plain'], None)
    (tmp_path / 'alone.pth').unlink()
    assert run_chain(tmp_path) == (['alone'], None)


def test_another_command_is_another_step(tmp_path):
    run_chain(tmp_path)
    longer = PlannedStep('start', ('train', 'start', '--longer'), ('start.pth',), ('data',))
    assert run_chain(tmp_path, [CHAIN[0], longer, *CHAIN[2:]]) == (['start', 'plain'], None)


def test_after_a_failure_the_rest_is_run(tmp_path):
    assert run_chain(tmp_path, fails=['start']) == (['data', 'start'], 'start failed')
    assert run_chain(tmp_path) == (['start', 'plain', 'alone'], None)


def test_a_stop_leaves_no_result_older_than_its_start(tmp_path):
    """The start is made anew; then the comparison stops before the network that goes on from it."""
    run_chain(tmp_path)
    (tmp_path / 'start.pth').unlink()
    assert run_chain(tmp_path, fails=['plain']) == (['start', 'plain'], 'plain failed')
    assert (tmp_path / 'plain.pth').exists()
    assert run_chain(tmp_path) == (['plain'], None)


def test_what_runs_beside_a_failure_is_kept(tmp_path):
    both = threading.Barrier(2, timeout=60)  # passed by two steps at a time only

    def run(step):
        if step.name != 'data':
            both.wait()
        if step.name == 'start':
            raise RuntimeError('start failed')
        (tmp_path / step.writes[0]).write_text('')

    pool = StepPool(tmp_path, tmp_path / 'journal.json', run, jobs=2)
    with pytest.raises(RuntimeError, match='start failed'):
        pool.run(CHAIN)
    assert pool.finished(CHAIN) == {'data', 'alone'}
    assert set(pool.seconds([CHAIN[0], CHAIN[3]])) == {'data', 'alone'}


@pytest.mark.parametrize('content', ['[]', '{"a": 1}', '{'])
def test_a_broken_journal_is_named(tmp_path, content):
    (tmp_path / 'journal.json').write_text(content)
    with pytest.raises(ValueError, match=r'journal\.json'):
        run_chain(tmp_path)


# --- Tables -------------------------------------------------------------------------------------


def scores(seed, shift):
    """Columns of one network; AP of large objects is missing in seed 2."""
    drawn = np.random.default_rng((seed, shift)).uniform(5, 60, 5).round(1).tolist()
    values = dict(zip(('AP', 'AP50', 'AP_S', 'AP_M', 'AP_L'), drawn))
    values['AP_L'] = None if seed == 2 else values['AP_L']
    return {
        **values,
        'params': 1_000_000 + 90_000 * seed * shift,
        'backbone MACs': 179_000_000,
        'search s': 100.0 * shift + seed,
    }


def test_means_and_deviations():
    results = {
        name: {seed: scores(seed, shift) for seed in (0, 1, 2)}
        for shift, name in enumerate(NETWORKS)
    }
    means, rows = summary(results), table(results)
    assert rows[0] == ['network', *scores(0, 0)]
    assert [row[0] for row in rows[1:]] == [network.title for network in NETWORKS.values()]
    for shift, (name, row) in enumerate(zip(NETWORKS, rows[1:])):
        drawn = np.array([scores(seed, shift)['AP'] for seed in (0, 1, 2)])
        mean, std = drawn.sum() / 3, np.sqrt(((drawn - drawn.sum() / 3) ** 2).sum() / 2)
        np.testing.assert_allclose(means[name]['AP'], (mean, std))
        assert row[1] == f'{mean:.1f} ± {std:.1f}'
        assert means[name]['AP_L'] == (None, None)
        assert row[5] == '-'
        assert row[6:] == [f'{1 + 0.09 * shift:.2f} M', '179 M', str(100 * shift + 1)]


def test_one_seed_has_no_deviation():
    results = {'ps': {4: scores(4, 1)}}
    assert table(results)[1][1] == f'{scores(4, 1)["AP"]:.1f}'
    assert summary(results)['ps']['AP'] == (scores(4, 1)['AP'], None)


def test_every_seed_s_numbers_are_in_the_report():
    results = {name: {seed: scores(seed, 3) for seed in (0, 2)} for name in ('plain', 'cr')}
    rows = seed_table(results)
    assert rows[0] == ['network', 'seed', 'AP', 'AP50', 'AP_S', 'AP_M', 'AP_L']
    assert [row[:3] for row in rows[1:]] == [
        [name, str(seed), f'{scores(seed, 3)["AP"]:.1f}']
        for name in ('plain', 'CR')
        for seed in (0, 2)
    ]
    assert f'| CR | 2 | {scores(2, 3)["AP"]:.1f} |' in report(results)


def test_results_are_read_from_the_seed_s_folders(tmp_path):
    """Scores of each network and seed differ; the seconds are powers of two, added by hand."""
    args = argparse.Namespace(work_dir=tmp_path, seeds=[0, 7])
    steps = [f'seed_{seed}/{name}' for seed in args.seeds for name in NEEDS]
    for place, name in enumerate(steps):
        if name.split('/')[1] in NETWORKS:
            logs = tmp_path / name / 'now' / 'vis_data'
            logs.mkdir(parents=True)
            metrics = {f'coco/bbox_{key}': place / 100 for key in ('mAP', 'mAP_50', 'mAP_s')}
            metrics.update({'coco/bbox_mAP_m': 0.5, 'coco/bbox_mAP_l': -1})
            (logs / 'scalars.json').write_text(json.dumps(metrics))
    cost = {'params': 3, 'backbone MACs': 4}
    seconds = {name: 2**place for place, name in enumerate(steps)}
    with mock.patch('mmic.engine.toy_results.network_cost', return_value=cost):
        results = seed_results(args, seconds)
    assert list(results) == list(NETWORKS)
    order = list(NEEDS)
    for seed, first in ((0, 0), (7, len(order))):
        for name in NETWORKS:
            assert results[name][seed]['AP'] == first + order.index(name)
            assert results[name][seed]['AP_L'] is None
        both = [results[name][seed]['search s'] for name in ('plain', 'ic_16', 'nats', 'cr')]
        by_hand = [0, 2**7 + 2**10, 2**14 + 2**15, 2**1 + 2**2 + 2**3 + 2**4]
        assert both == [2**first * value for value in by_hand]


def test_do_conv_costs_what_the_plain_network_costs(tmp_path):
    for config in (PLAIN, DO):
        Config.fromfile(ROOT / config).dump(tmp_path / config.rpartition('/')[2])
    plain, folded = (network_cost(tmp_path, config) for config in (PLAIN, DO))
    assert folded == plain
    assert plain['params'] > 1_000_000


# --- The command --------------------------------------------------------------------------------


def test_list_runs_nothing(tmp_path):
    done = call_tool('toy_compare.py', '--list', '--seeds', 3, '--work-dir', tmp_path / 'new')
    assert done.code == 0, done.text
    lines = done.text.splitlines()
    assert len([line for line in lines if ': python tools/' in line]) == 3 + 20
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (('--seeds', 1, 1), 'different numbers from 0 up, got [1, 1]'),
        (('--seeds', -1), 'different numbers from 0 up, got [-1]'),
        (('--jobs', 0), '--jobs must be 1 or more, got 0'),
        (('--epochs', 0), '--epochs must be 1 or more, got 0'),
    ],
)
def test_impossible_arguments_are_refused(arguments, told):
    done = call_tool('toy_compare.py', *arguments)
    assert done.code == 2
    assert told in done.text
