"""tools/cr_search.py: both searches on toy data, stopped and resumed, in one process and two."""

import itertools
import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    TOOLS,
    build_model,
    call_tool,
    free_port,
    run_command,
    tool_environment,
    write_detector_config,
)
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

from mmic.engine.path_result import depth_of, eligible_stages, result_pattern
from mmic.engine.path_search import rank_operations
from mmic.models import CRMobileNetV2, CRResNet
from mmic.pattern import DilationPattern
from mmic.search.journal import Journal

# Untrained, but it finds something at this overlap. Two of the three images are scored together.
EXTRA = """
model['backbone'].update(base_channels=4)
model['neck']['in_channels'] = [4, 8, 16, 32]
val_dataloader['batch_size'] = 2
val_evaluator['iou_thrs'] = [0.1, 0.2]
"""
STAGES = (1, 1, 2, 4)
SEARCHES = dict(stage=dict(search='stage'), operation=dict(search='operation', stage_blocks=STAGES))
# All that the search space of section 3.2.1 has for 8 blocks.
T1, T2, T3, T4 = range(1, 11), range(1, 11), (2, 3, 5, 6, 9), (2, 3, 4, 6, 7)
STAGE_CODES = {code for code in itertools.product(T1, T2, T3, T4) if sum(code) == 8}
# 3 extensions of the first of 8 blocks, then 9 each (Algorithm 1).
EVALUATIONS = 3 + 9 * 7


@pytest.fixture(scope='module')
def supernets(toy_data, tmp_path_factory):
    """Config and checkpoint of both supernets, by kind; candidates have weights of their own."""
    folder = tmp_path_factory.mktemp('supernets')
    made = {}
    for kind, search in SEARCHES.items():
        config = write_detector_config(
            folder / f'{kind}.py', toy_data, EXTRA, type='CRResNet', **search
        )
        torch.manual_seed(0)
        state = build_model(config).state_dict()
        generator = torch.Generator().manual_seed(0)
        for name, value in state.items():
            if '.conv2.weights.' in name:
                value += 0.5 * value.std() * torch.randn(value.shape, generator=generator)
        checkpoint = folder / f'{kind}.pth'
        torch.save({'state_dict': state, 'meta': {}}, checkpoint)
        made[kind] = SimpleNamespace(config=config, checkpoint=checkpoint)
    return made


def arguments(supernets, kind, out, *further):
    supernet = supernets[kind]
    return [
        *(kind, supernet.config, supernet.checkpoint, '--out', out, '--base-channels', 4),
        *('--work-dir', out.parent / 'run', *further),
    ]


def search(supernets, kind, out, *further):
    done = call_tool('cr_search.py', *arguments(supernets, kind, out, *further))
    assert done.code == 0, done.text
    return done.text


def entries_of(journal):
    """Architectures and scores of a journal, read by hand."""
    header, *lines = map(json.loads, journal.read_text().splitlines())
    assert header['format'] == 'mmic.journal'
    return [(tuple(line['architecture']), line['score']) for line in lines]


def assert_same_result(first, second):
    """Patterns and journals of two searches are equal but for the time that they took."""
    patterns = []
    for out in (first, second):
        pattern = json.loads(out.read_text())
        assert pattern['meta']['search_cost'].pop('seconds') > 0
        patterns.append(pattern)
    assert patterns[0] == patterns[1]
    suffix = '.journal.jsonl'
    assert entries_of(first.with_suffix(suffix)) == entries_of(second.with_suffix(suffix))


@pytest.fixture(scope='module')
def stages(supernets, tmp_path_factory):
    """A finished stage search."""
    out = tmp_path_factory.mktemp('stage') / 'found.json'
    return SimpleNamespace(out=out, text=search(supernets, 'stage', out))


@pytest.fixture(scope='module')
def operations(supernets, tmp_path_factory):
    """A finished operation search."""
    out = tmp_path_factory.mktemp('operation') / 'found.json'
    return SimpleNamespace(out=out, text=search(supernets, 'operation', out))


def test_stage_search_writes_the_best_of_all_codes(stages):
    entries = entries_of(stages.out.with_suffix('.journal.jsonl'))
    assert len(entries) == 9
    assert {code for code, _ in entries} == STAGE_CODES
    ranking = sorted(entries, key=lambda entry: -entry[1])
    assert len({score for _, score in entries}) > 4
    pattern = DilationPattern.load(stages.out)
    assert tuple(pattern.stage_blocks) == ranking[0][0]
    assert (pattern.method, pattern.scope) == ('cr_nas', 'backbone')
    assert pattern.meta['kind'] == 'stage'
    assert pattern.meta['score'] == ranking[0][1]
    best = [(tuple(item['architecture']), item['score']) for item in pattern.meta['best']]
    assert best == ranking
    assert all((layer.dilations == 1).all() for layer in pattern.layers.values())
    assert 'The search has 9 evaluations of 3 images in 2 mini-batches' in stages.text
    assert '--bn-recalibrate does' in stages.text
    first = next(line for line in stages.text.splitlines() if line.startswith('│    1 │'))
    assert ' '.join(map(str, ranking[0][0])) in first
    assert f'Wrote {stages.out}' in stages.text


def test_both_results_build_the_networks_they_are_for(stages, operations):
    """A pattern of stages also the supernet of the second search, of other widths or not."""
    found = DilationPattern.load(stages.out).stage_blocks
    small = dict(depth=18, base_channels=4)
    assert CRResNet(**small, pattern=str(stages.out)).stage_blocks == tuple(found)
    supernet = CRResNet(depth=18, search='operation', pattern=str(stages.out))
    assert supernet.stage_blocks == tuple(found)
    network = CRResNet(**small, pattern=str(operations.out))
    assert network.stage_blocks == STAGES
    wanted = dict(
        zip(
            (f'layer{s}.{b}.conv2' for s, blocks in enumerate(STAGES, 1) for b in range(blocks)),
            json.loads(operations.out.read_text())['meta']['best'][0]['architecture'],
        )
    )
    pattern = DilationPattern.load(operations.out)
    assert {name: layer.dilations.unique().tolist() for name, layer in pattern.layers.items()} == {
        name: [dilation] for name, dilation in wanted.items()
    }


def test_operation_search_is_algorithm_1(operations):
    """Each step extends the best prefixes of the step before, by all three dilations."""
    entries = entries_of(operations.out.with_suffix('.journal.jsonl'))
    assert len(entries) == EVALUATIONS
    kept = [()]
    for length in range(1, 9):
        step = [(prefix, score) for prefix, score in entries if len(prefix) == length]
        assert [prefix for prefix, _ in step] == [(*p, d) for p in kept for d in (1, 2, 3)]
        step.sort(key=lambda entry: -entry[1])
        kept = [prefix for prefix, _ in step[:3]]
    pattern = DilationPattern.load(operations.out)
    best = [(tuple(item['architecture']), item['score']) for item in pattern.meta['best']]
    assert best == step
    assert len(best) == 9
    assert f'{EVALUATIONS} evaluations of 3 images in 2 mini-batches' in operations.text


def test_killed_search_is_continued_and_finds_the_same(supernets, operations, tmp_path):
    out = tmp_path / 'found.json'
    journal = out.with_suffix('.journal.jsonl')
    command = [sys.executable, TOOLS / 'cr_search.py', *arguments(supernets, 'operation', out)]
    process = subprocess.Popen(
        list(map(str, command)), env=tool_environment(), stdout=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b'\n') > EVALUATIONS // 3:
                break
            time.sleep(0.002)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    before = entries_of(journal)
    assert EVALUATIONS // 3 <= len(before) < EVALUATIONS
    text = search(supernets, 'operation', out)
    assert f'{len(before)} evaluations are known from {journal}' in text
    after = entries_of(journal)
    assert after[: len(before)] == before
    assert len(after) == EVALUATIONS
    assert_same_result(out, operations.out)


def test_two_processes_find_the_same_as_one(supernets, operations, tmp_path):
    out = tmp_path / 'found.json'
    launch = ['-m', 'torch.distributed.run', '--nproc_per_node', 2, '--master_port', free_port()]
    command = [*launch, TOOLS / 'cr_search.py', *arguments(supernets, 'operation', out)]
    text = run_command(sys.executable, *command, '--launcher', 'pytorch', cwd=tmp_path)
    assert_same_result(out, operations.out)
    assert text.count(f'Wrote {out}') == 1


def test_known_scores_are_not_taken_twice(supernets, stages):
    """Also a result is kept unless it may be replaced."""
    kept = stages.out.read_bytes()
    done = call_tool('cr_search.py', *arguments(supernets, 'stage', stages.out))
    assert done.code == 1
    assert 'pass --overwrite' in done.text
    journal = stages.out.with_suffix('.journal.jsonl')
    scores = journal.read_bytes()
    text = search(supernets, 'stage', stages.out, '--overwrite')
    assert f'9 evaluations are known from {journal}' in text
    assert (journal.read_bytes(), stages.out.read_bytes()) == (scores, kept)


@pytest.mark.parametrize(
    ('change', 'field'),
    [
        (['--max-images', '2'], 'images'),
        (['--bn-recalibrate', '1'], 'bn_recalibrate'),
        (['--cfg-options', 'model.test_cfg.rcnn.max_per_img=9'], 'model'),
        (['--cfg-options', 'val_evaluator.iou_thrs=[0.3]'], 'data'),
    ],
)
def test_journal_of_another_search_is_refused(supernets, stages, tmp_path, change, field):
    journal = ['--journal', stages.out.with_suffix('.journal.jsonl')]
    out = tmp_path / 'found.json'
    done = call_tool('cr_search.py', *arguments(supernets, 'stage', out, *journal, *change))
    assert done.code == 1
    assert f'journal of another search: {field!r} is' in done.text
    assert not out.exists()


@pytest.mark.parametrize(
    ('kind', 'change', 'message'),
    [
        ('operation', ['--batches', '4'], 'num_batches must be from 1 to 3'),
        ('stage', ['--num-blocks', '12'], 'have 8 (depth 18), 16 (depth 34) blocks, got 12'),
        ('stage', ['--metric', 'AP'], 'val_evaluator does not compute AP; it has coco/bbox_mAP'),
        (
            'stage',
            ['--cfg-options', 'val_dataloader.dataset.ann_file=annotations/train.json']
            + ['val_dataloader.dataset.data_prefix.img=train/', 'val_evaluator.ann_file=@'],
            'train_dataloader and val_dataloader (held out) share 8 image(s)',
        ),
    ],
)
def test_impossible_searches_are_refused(supernets, toy_data, tmp_path, kind, change, message):
    train = str(toy_data / 'annotations' / 'train.json')
    change = [part.replace('@', train) for part in change]
    out = tmp_path / 'found.json'
    done = call_tool('cr_search.py', *arguments(supernets, kind, out, *change))
    assert done.code == 1
    assert message in done.text
    assert not out.exists()


@pytest.mark.parametrize(
    ('kind', 'change', 'message'),
    [
        ('stage', ['--k', '3'], '--k and --batches go with the operation search'),
        ('stage', ['--batches', '3'], '--k and --batches go with the operation search'),
        ('operation', ['--num-blocks', '8'], '--num-blocks goes with the stage search'),
        ('operation', ['--k', '0'], 'argument --k: must be 1 or more, got 0'),
        ('stage', ['--seed', '-1'], '--seed must be 0 or more'),
        ('stage', ['--journal', '@'], '--journal and --out name the same file'),
    ],
)
def test_contradicting_options_are_refused(supernets, tmp_path, kind, change, message):
    out = tmp_path / 'found.json'
    change = [part.replace('@', str(out)) for part in change]
    done = call_tool('cr_search.py', *arguments(supernets, kind, out, *change))
    assert done.code == 2
    assert message in done.text


def test_only_the_supernet_asked_for_is_searched(supernets, stages, tmp_path):
    other = SimpleNamespace(
        config=supernets['operation'].config, checkpoint=supernets['stage'].checkpoint
    )
    out = tmp_path / 'found.json'
    done = call_tool('cr_search.py', *arguments({'stage': other}, 'stage', out))
    assert done.code == 1
    assert 'CRResNet is of the operation search; the stage search needs' in done.text
    done = call_tool('cr_search.py', *arguments({'operation': other}, 'operation', out))
    assert done.code == 1
    assert f'{other.checkpoint} is no checkpoint of this supernet' in done.text
    change = ['--cfg-options', 'model.backbone.search=None', 'model.backbone.type=CRResNet']
    done = call_tool('cr_search.py', *arguments(supernets, 'operation', out, *change))
    assert done.code == 1
    assert 'CRResNet is no supernet of CR-NAS' in done.text


def test_depths_with_as_many_blocks():
    """ResNet's table: 2+2+2+2, 3+4+6+3 of either block, 3+4+23+3, 3+8+36+3."""
    basic, bottleneck = (
        CRResNet(depth=depth, search='stage', base_channels=4) for depth in (18, 50)
    )
    assert [depth_of(basic, count) for count in (8, 16)] == [18, 34]
    assert [depth_of(bottleneck, count) for count in (16, 33, 50)] == [50, 101, 152]
    assert len(eligible_stages(bottleneck)) == 153
    assert len(eligible_stages(bottleneck, 33)) == 374


@pytest.mark.parametrize(
    ('kind', 'config', 'winner', 'convs', 'width'),
    [
        ('stage', dict(type='CRResNet', depth=50), (2, 3, 17, 11), 33, 512),
        ('operation', dict(type='CRResNet', arch='SCR-ResNet50'), (1, 2, 3, 1) * 4, 16, 512),
        ('operation', dict(type='CRResNeXt', arch='SCR-ResNeXt50-32x4d'), (3,) * 16, 16, 1024),
        (
            'operation',
            dict(type='CRResNeXt', arch='SCR-ResNeXt50-32x4d', base_channels=16, base_width=2),
            (3,) * 16,
            16,
            1024,
        ),
        (
            'operation',
            dict(type='CRMobileNetV2', arch='SCR-MobileNetV2'),
            (1,) + (2,) * 17 + (1, 1),
            17,
            960,
        ),
    ],
)
def test_pattern_has_the_widths_of_the_standard_network(kind, config, winner, convs, width):
    """A supernet of half the widths, and with 50's blocks the network of depth 101."""
    init_default_scope('mmdet')
    config = ConfigDict(config, search=kind)
    pattern = result_pattern(config, MODELS.build(config), winner)
    assert len(pattern.layers) == convs
    assert list(pattern.layers.values())[-1].out_channels == width
    if kind == 'stage':
        assert pattern.stage_blocks == list(winner)
        assert CRResNet(depth=101, pattern=pattern).stage_blocks == winner
    else:
        chosen = [int(layer.dilations.max()) for layer in pattern.layers.values()]
        assert chosen == list(winner[1:-2] if convs == 17 else winner)


def test_width_of_the_network_is_twice_the_supernets_or_as_told():
    init_default_scope('mmdet')
    config = ConfigDict(type='CRResNet', depth=18, search='stage', base_channels=4)
    backbone = MODELS.build(config)
    for told, wanted in ((None, 8), (5, 5)):
        layers = result_pattern(config, backbone, STAGES, told).layers
        assert layers['layer1.0.conv2'].out_channels == wanted
        assert layers['layer4.3.conv2'].in_channels == 8 * wanted
    with pytest.raises(ValueError, match='base_channels must be 1 or more, got 0'):
        result_pattern(config, backbone, STAGES, 0)
    config = ConfigDict(type='CRMobileNetV2', search='stage')
    path = (1, 1, 2, 2, 3, 4, 4, 1, 1, 1)
    with pytest.raises(ValueError, match='a MobileNetV2 has none'):
        result_pattern(config, MODELS.build(config), path, 64)


class FavouriteScore:
    """Rates paths by where they agree with one; no later units make up for an earlier one."""

    num_batches = 3
    favourite = (1, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 1, 1)

    def __call__(self, paths):
        assert len(paths) == 3
        assert all(path[0] == 1 and path[-2:] == (1, 1) and len(path) == 20 for path in paths)
        agree = [[a == b for a, b in zip(path, self.favourite)] for path in paths]
        return sum(4.0**-unit * same for row in agree for unit, same in enumerate(row))


def test_fixed_units_of_mobilenetv2_are_never_dilated():
    """All completions of a prefix have dilation 1 there, and so has the result."""
    backbone = CRMobileNetV2(arch='SCR-MobileNetV2', search='operation')
    done = []
    ranking = rank_operations(
        backbone, 3, 0, FavouriteScore(), Journal(None, {}), lambda *step: done.append(step)
    )
    assert ranking[0][0] == FavouriteScore.favourite
    assert len(ranking) == 9
    assert done[-1] == (3 + 9 * 16, 3 + 9 * 16)
