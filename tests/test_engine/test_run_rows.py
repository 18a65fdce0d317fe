"""Chains of printed results: run, skipped, resumed, and moved to a folder of their own."""

import functools
import io
import json
import math
import re
from pathlib import Path
from unittest import mock

import pytest
from helpers import ROOT, call_tool
from mmengine.config import Config, utils
from rich.console import Console

from mmic.engine.chain_runner import ChainRunner
from mmic.engine.reproduce import Step, load_config, steps_of
from mmic.engine.row_steps import data_options, real_steps
from mmic.engine.rows import find_row, read_rows, resolve
from mmic.engine.run_rows import check_data, run_toy
from mmic.engine.toy_rows import TOY_CHAINS, ToyWorld, toy_folder, toy_steps

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')

# Commands of a chain with its plumbing alone: each tells how it was called and writes its file.
SCRIPT = """
import pathlib
import sys
words = sys.argv[1:]
with open('calls.log', 'a') as log:
    print(pathlib.Path(__file__).name, *words, file=log)
if pathlib.Path('fail').exists() and words[-1] == pathlib.Path('fail').read_text():
    folder = pathlib.Path(words[words.index('--work-dir') + 1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'epoch_1.pth').write_text('')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    sys.exit('out of memory')
if '--out' in words:
    path = pathlib.Path(words[words.index('--out') + 1])
else:
    name = 'now/now.json' if __file__.endswith('test.py') else 'epoch_2.pth'
    path = pathlib.Path(words[words.index('--work-dir') + 1]) / name
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text('')
"""
SUPERNET = ('tools/train.py', 'supernet', '--work-dir', 'work/supernet')
SEARCH = ('tools/edo_search.py', 'supernet', 'work/supernet/epoch_2.pth', '--out', 'found.json')
OTHER = ('tools/train.py', 'other', '--work-dir', 'work/other')
TRAINED = ('tools/train.py', 'searched', '--work-dir', 'work/searched')
TRAINED += ('--cfg-options', 'model.backbone.pattern=found.json')
TESTED = ('tools/test.py', 'searched', 'work/searched/epoch_2.pth', '--work-dir', 'work/test')
CHAIN = [
    Step('train the supernet', SUPERNET, writes=('work/supernet/epoch_2.pth',)),
    Step('search', SEARCH, writes=('found.json',)),
    Step('train on ImageNet', OTHER, writes=('work/other/epoch_2.pth',)),
    Step('train', TRAINED, writes=('work/searched/epoch_2.pth',)),
    Step('test', TESTED),
]


@pytest.fixture(scope='module', autouse=True)
def _indices_are_read_once():
    """The packages' indices of configs, which mmengine reads again for every base of a config."""
    with mock.patch.object(utils, 'load', functools.lru_cache(maxsize=None)(utils.load)):
        yield


@pytest.fixture(scope='module')
def rows():
    return read_rows()


@pytest.fixture
def repository(tmp_path):
    """A folder with commands that write empty files and a log of their calls."""
    (tmp_path / 'tools').mkdir()
    for name in ('train', 'test', 'edo_search'):
        (tmp_path / 'tools' / f'{name}.py').write_text(SCRIPT)
    return tmp_path


def run_chain(root, **options):
    """Run ``CHAIN``; return the calls of its commands and what was printed."""
    (root / 'calls.log').unlink(missing_ok=True)
    console = Console(file=io.StringIO(), width=200)
    try:
        ChainRunner(root, 'work', 'journal.json', console, **options).run(CHAIN)
    except RuntimeError as error:
        console.print(f'failed: {error}', markup=False)
    log = root / 'calls.log'
    calls = log.read_text().splitlines() if log.exists() else []
    return calls, console.file.getvalue()


def called(*commands):
    return [' '.join(command).replace('tools/', '') for command in commands]


def test_each_step_runs_once(repository):
    calls, _ = run_chain(repository)
    assert calls == called(SUPERNET, SEARCH, OTHER, TRAINED, TESTED)
    calls, text = run_chain(repository)
    assert calls == []
    assert text.count('finished before') == 4
    assert 'found.json exists and is kept' in text


def test_a_stopped_training_goes_on(repository):
    (repository / 'fail').write_text(TRAINED[-1])
    calls, text = run_chain(repository)
    assert calls == called(SUPERNET, SEARCH, OTHER, TRAINED)
    assert 'failed: 4_train failed' in text
    assert 'out of memory' in text
    (repository / 'fail').unlink()
    calls, _ = run_chain(repository)
    resumed = (*TRAINED[:4], '--resume', *TRAINED[4:])
    assert calls == called(resumed, TESTED)


def test_a_pattern_of_the_user_s_is_kept_unless_asked_otherwise(repository):
    (repository / 'found.json').write_text('mine')
    calls, text = run_chain(repository)
    assert calls == called(SUPERNET, OTHER, TRAINED, TESTED)
    assert 'found.json exists and is kept' in text
    assert (repository / 'found.json').read_text() == 'mine'
    # What reads the pattern starts from scratch; what does not is left alone.
    last = repository / 'work' / 'searched' / 'last_checkpoint'
    last.write_text('work/searched/epoch_2.pth')
    calls, _ = run_chain(repository, overwrite=True)
    assert calls == called((*SEARCH, '--overwrite'), TRAINED, TESTED)
    assert (repository / 'found.json').read_text() == ''
    assert not last.exists()


def test_a_training_that_fails_when_run_again_is_not_finished(repository):
    run_chain(repository)
    (repository / 'fail').write_text(TRAINED[-1])
    assert run_chain(repository, overwrite=True)[0] == called((*SEARCH, '--overwrite'), TRAINED)
    (repository / 'fail').unlink()
    resumed = (*TRAINED[:4], '--resume', *TRAINED[4:])
    assert run_chain(repository)[0] == called(resumed, TESTED)


def test_a_result_that_is_gone_is_made_again_with_all_that_reads_it(repository):
    run_chain(repository)
    folder = repository / 'work' / 'searched'
    (folder / 'epoch_2.pth').unlink()
    # There is nothing to go on from.
    (folder / 'last_checkpoint').write_text('work/searched/epoch_2.pth')
    assert run_chain(repository)[0] == called(TRAINED, TESTED)


def test_several_gpus_are_for_trainings(repository, monkeypatch):
    run = []
    runner = ChainRunner(repository, 'work', 'journal.json', Console(file=io.StringIO()), gpus=4)
    runner.commands.seconds = dict.fromkeys(
        [f'{n}_{s.name}'.replace(' ', '_') for n, s in enumerate(CHAIN, 1)], 0
    )
    monkeypatch.setattr(runner.commands, 'run', lambda name, *command: run.append(command))
    runner.run(CHAIN)
    start = ('-m', 'torch.distributed.run', '--nproc_per_node=4')
    started = (*start, *TRAINED[:4], '--launcher', 'pytorch', *TRAINED[4:])
    assert run[3] == started
    assert run[1] == SEARCH
    assert run[4] == TESTED


@pytest.mark.parametrize('content', ['[]', '{"a": 1}', '{'])
def test_a_broken_journal_is_named(repository, content):
    (repository / 'journal.json').write_text(content)
    with pytest.raises(ValueError, match=r'journal\.json'):
        ChainRunner(repository, 'work', 'journal.json', Console(file=io.StringIO())).run(CHAIN)


# --- Where the data are -------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name',
    [
        'ic_conv/rfcn_r50_18e_voc0712.py',
        'ic_conv/faster-rcnn_r50_c4_20e_crowdhuman.py',
        'nats/faster-rcnn_nats-r50-supernet_fpn_25e_coco.py',
        'psconv/cifar/x29-8x64d_300e_cifar100.py',
        'ic_conv/imagenet/r18_100e_in1k.py',
    ],
)
def test_all_paths_of_data_are_moved(name):
    """Word by word in the text of the config that the runner sees."""
    cfg = Config.fromfile(ROOT / 'configs' / name, import_custom_modules=False)
    used = {key: cfg[key] for key in cfg if key.split('_')[-1] in ('dataloader', 'evaluator')}
    used['train_cfg'] = cfg.train_cfg
    before = re.findall(r"'(?:\./)?data/[^']*'", repr(Config(used).to_dict()))
    assert before
    options = data_options(cfg, '/disk/sets')
    cfg.merge_from_dict(dict(option.split('=', 1) for option in options))
    after = repr(Config({key: cfg[key] for key in used}).to_dict())
    assert "'data/" not in after
    assert re.findall(r"'/disk/sets/[^']*'", after) == [
        word.replace("'data/", "'/disk/sets/") for word in before
    ]


def test_real_steps(rows):
    """Commands by hand: of a search that splits the data and of one test."""
    steps = steps_of(rows, 'nats.t2.g4')
    done = real_steps(steps, '/sets', ['--auto-scale-lr'])
    split, supernet, search, train, test = (' '.join(step.command) for step in done)
    assert split == (
        'tools/coco_split.py nats --train /sets/coco/annotations/instances_train2017.json '
        '--val /sets/coco/annotations/instances_val2014.json '
        '--minival /sets/coco/annotations/instances_val2017.json '
        '--out-dir /sets/coco/annotations'
    )
    assert done[0].writes[1] == '/sets/coco/annotations/nats_alpha.json'
    assert supernet.startswith(
        'tools/train.py configs/nats/faster-rcnn_nats-r50-supernet_fpn_25e_coco.py '
        '--work-dir work_dirs/nats.t2.g4/supernet --auto-scale-lr --cfg-options '
        'model.backbone.num_groups=4 train_dataloader.dataset.data_root=/sets/coco/'
    )
    assert 'train_cfg.alpha_dataloader.dataset.data_root=/sets/coco/' in supernet
    assert 'test_evaluator.ann_file=/sets/coco/annotations/instances_val2017.json' in test
    assert ' --auto-scale-lr' not in search + test
    assert '--auto-scale-lr --cfg-options model.backbone.pattern=' in train
    folder = 'work_dirs/nats.t2.g4/train'
    assert f' --work-dir {folder}/test_faster-rcnn_nats-r50_fpn_13e_coco --cfg-options' in test
    # Without anything to change a command is the one that ``show`` prints.
    plain = real_steps(steps)
    assert [step.command for step in plain[:4]] == [step.command for step in steps[:4]]


def test_missing_data_are_named_before_anything_runs(rows, tmp_path):
    done = call_tool('reproduce.py', 'run', 'ic.t1.r18.base', '--data-root', tmp_path)
    assert done.code == 1
    assert f'there is no {tmp_path}/imagenet' in done.text
    assert '1_train' not in done.text
    # CIFAR is downloaded where it is missing.
    check_data(steps_of(rows, 'do.t1.cifar10.plain_20'), tmp_path.as_posix())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--gpus', '0'], '--gpus must be at least 1, got 0'),
        (['--toy', '--data-root', 'sets'], 'leave out --data-root'),
        (['--toy', '--results', 'results.json'], 'leave out --results'),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    done = call_tool('reproduce.py', 'run', 'ic.t1.r18.base', *arguments)
    assert done.code == 2
    assert message in done.text


def test_a_row_without_a_chain_says_why():
    done = call_tool('reproduce.py', 'run', 'ps.speed.conv3x3', '--toy')
    assert done.code == 1
    assert "reproduce: ps.speed.conv3x3: A timing of the authors' devices" in done.text


# --- The chain at a small size ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('work_dirs/x/epoch_13.pth', 'toy/x/epoch_13.pth'),
        ('work_dirs/cr.t5.r18/pattern.json', 'toy/cr.t5.r18/pattern.json'),
        ('configs/ic_conv/patterns/a.json', 'toy/patterns/a.json'),
        (f'{ROOT}/configs/ic_conv/pose/patterns/a.json', 'toy/patterns/a.json'),
        ('data/coco/annotations', 'toy/data/coco/annotations'),
        ('configs/ic_conv/a.py', 'configs/ic_conv/a.py'),
        ('torchvision://resnet50', 'torchvision://resnet50'),
        ('--out', '--out'),
        ('nats_alpha', 'nats_alpha'),
        ('', ''),
    ],
)
def test_places(path, expected):
    assert ToyWorld('toy').place(path) == expected


@pytest.fixture(scope='module')
def cr_steps(rows, tmp_path_factory):
    """The chain with both searches of CR-NAS and both kinds of start, and its folder."""
    folder = tmp_path_factory.mktemp('toy')
    return toy_steps(rows, 'cr.t6.r18', folder), folder


def test_nothing_of_the_user_s_is_named(cr_steps):
    steps, folder = cr_steps
    assert len(steps) == 10
    for step in steps:
        words = [word.rpartition('=')[2] for word in step.command[1:]]
        paths = [word for word in words if '/' in word]
        assert paths
        assert all(Path(path).is_relative_to(folder) for path in paths), step.command
        assert all(Path(path).is_relative_to(folder) for path in step.writes)
        # Commands that run mmengine's Runner would make a folder in work_dirs.
        runs = step.command[0] in ('tools/train.py', 'tools/test.py', 'tools/cr_search.py')
        assert ('--work-dir' in step.command) == runs
        if step.config:
            text = Path(step.config).read_text()
            used = re.findall(
                r"'((?:\./)?(?:work_dirs|data|configs)/[^']*|[^']*/patterns/[^']*)'", text
            )
            assert used == []
            assert '://' not in text.replace('https://', '')


def test_each_small_step_reads_what_an_earlier_one_writes(cr_steps):
    """Checkpoints and patterns, named in the command or in the config of a training."""
    steps, folder = cr_steps
    written = set()
    for step in steps:
        text = ' '.join(step.command)
        if step.command[0] == 'tools/train.py':
            text += Path(step.config).read_text()
        named = set(re.findall(rf'{folder}/[^\s\']+\.(?:pth|json)', text))
        named -= {path for path in named if '/data/' in path}
        assert named <= written | set(step.writes), step.command
        if step.name in ('search', 'test', 'train'):
            assert len(named & written) >= 1, step.command
        written |= set(step.writes)
    # Two searches, and a checkpoint of each of the six trainings.
    assert len([path for path in written if path.endswith('epoch_1.pth')]) == 6
    assert len([path for path in written if path.endswith('pattern.json')]) == 2


def test_the_networks_and_starts_are_the_row_s(cr_steps, rows):
    """The chain is made smaller in data and time alone."""
    steps, folder = cr_steps
    for small, full in zip(steps, steps_of(rows, 'cr.t6.r18')):
        assert small.name == full.name
        if full.config:
            cfg, other = Config.fromfile(small.config), load_config(full.config)
            assert cfg.model.type == other.model.type
            assert cfg.model.backbone.depth == other.model.backbone.depth
            assert cfg.model.backbone.type == other.model.backbone.type
            assert cfg.train_cfg.max_epochs == 1
    # A hundredth of the paper's 0.02.
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.0002)
    last = Config.fromfile(steps[-2].config)
    assert last.model.backbone.pattern == f'{folder}/cr.t6.r18/pattern.json'
    assert last.model.backbone.arch is None
    assert last.model.backbone.init_cfg.checkpoint == f'{folder}/cr.t6.r18/pretrain/epoch_1.pth'


def test_tests_of_one_network_share_its_training(rows, tmp_path):
    pytest.importorskip('mmpose')
    single, several = (
        toy_steps(rows, f'ic.t8.ae.r50.{scale}', tmp_path, from_plain=True)
        for scale in ('ss', 'ms')
    )
    assert single[:-1] == several[:-1]
    assert single[-1] != several[-1]
    assert toy_folder(rows, 'ic.t8.ae.r50.ms') == toy_folder(rows, 'ic.t8.ae.r50.ss')


def test_a_mean_of_five_runs_is_tried_with_two(rows, tmp_path):
    steps = toy_steps(rows, 'do.t1.cifar10.plain_20', tmp_path)
    assert [step.name for step in steps] == ['train', 'train', 'test', 'test']
    seeds = [Config.fromfile(step.config).randomness.seed for step in steps[:2]]
    assert seeds == [0, 1]
    assert len({step.command for step in steps}) == 4


def test_the_chains_of_all_families(rows):
    names = ['IC detection', 'IC segmentation', 'IC pose', 'IC classification']
    assert list(TOY_CHAINS) == [*names, 'PS', 'NATS', 'CR', 'DO segmentation']
    page = (ROOT / 'docs' / 'reproduce.md').read_text()
    for family, keys in TOY_CHAINS.items():
        for key in keys:
            assert resolve(rows, find_row(rows, key)).config, family
            assert f'`{key}`' in page


@pytest.mark.slow
def test_a_small_chain_from_end_to_end(rows, tmp_path):
    """A training and a test by their own commands, then nothing, and what they measured."""
    console = Console(file=io.StringIO(), width=200)
    seconds, values = run_toy(rows, 'ic.t1.r18.base', console, tmp_path)
    assert len(seconds) == 2
    assert set(values) == {'top1_acc', 'top5_acc'}
    # Of 4 validation images.
    assert all(value in (0, 25, 50, 75, 100) for value in values.values())
    assert values['top1_acc'] <= values['top5_acc']
    assert json.loads((tmp_path / 'results.json').read_text()) == {'ic.t1.r18.base': values}
    logs = list(tmp_path.glob('ic_conv/imagenet/r18_100e_in1k/*/vis_data/scalars.json'))
    scalars = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    # 8 images, 2 at a time, from random weights.
    losses = [line['loss'] for line in scalars if 'loss' in line]
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)
    again = run_toy(rows, 'ic.t1.r18.base', console, tmp_path)
    assert again == (seconds, values)
    assert console.file.getvalue().count('finished before') == 2
