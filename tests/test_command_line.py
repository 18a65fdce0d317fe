"""How commands end: one line for what a user can mend, also on full and read-only disks."""

import errno
import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from helpers import (
    ROOT,
    TOOLS,
    build_model,
    call_tool,
    run_python,
    tool_environment,
    write_detector_config,
)

from mmic.engine.command_line import files_in, quieten, run
from mmic.engine.options import option_word
from mmic.files import BadFileError, check_folder, check_outputs, write_file

CONFIGS = ROOT / 'configs' / 'toy'
TOY = CONFIGS / 'faster-rcnn_r18_fpn_toy.py'
PATTERN = CONFIGS / 'patterns' / 'faster-rcnn_ic-r18-k9_fpn_toy.json'


def ends_in_a_line(done, name, told, code=1):
    """Check that a command has failed with a line of its own, and without a traceback."""
    assert done.code == code, done.text[-2000:]
    assert 'Traceback' not in done.text
    last = done.text.splitlines()[-1]
    assert last.startswith(f'{name.partition(".")[0]}: '), last
    assert told in last, last


# The wrapper


def ended(main, *expected):
    with pytest.raises(SystemExit) as end:
        run(main, *expected)
    return end.value.code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ('error', 'told'),
    [
        (ValueError('not so'), 'cmd: not so'),
        (ImportError('no such package'), 'cmd: no such package'),
        (FileNotFoundError('There is no config a.py.'), 'cmd: There is no config a.py.'),
        (OSError(errno.EACCES, 'Permission denied', '/a/b'), 'cmd: /a/b: Permission denied'),
        (
            OSError(errno.ENOSPC, 'No space left on device', '/a/b'),
            'cmd: /a/b: No space left on device; make room or write elsewhere',
        ),
        (KeyboardInterrupt(), '\ncmd: interrupted'),
        (BrokenPipeError(errno.EPIPE, 'Broken pipe'), 1),
    ],
)
def test_what_a_user_can_mend_is_a_line(monkeypatch, tmp_path, error, told):
    monkeypatch.setattr(sys, 'argv', ['tools/cmd.py'])
    # A reader that has gone costs the standard output: here a file has to stand for it.
    with open(tmp_path / 'out', 'w') as out:
        monkeypatch.setattr(sys, 'stdout', out)
        code = ended(raising(error))
    assert code == told


@pytest.mark.parametrize('error', [KeyError('a'), TypeError('b'), RuntimeError('c')])
def test_faults_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run(raising(error))


def test_what_is_expected_can_be_chosen():
    assert 'c' in ended(raising(RuntimeError('c')), (RuntimeError,))
    with pytest.raises(ValueError, match='d'):
        run(raising(ValueError('d')), (RuntimeError,))
    assert 'e' in ended(raising(BadFileError('e')), ())


def test_folder_is_named_where_a_write_does_not_tell():
    with pytest.raises(OSError, match='No space') as error, files_in('work_dirs/a'):
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert error.value.filename == 'work_dirs/a'


def test_hosts_warnings_are_left_out_unless_asked_for(monkeypatch):
    code = (
        'import warnings\n'
        'from mmic.engine.command_line import run\n'
        'def main():\n'
        '    warnings.warn("torch.meshgrid: in an upcoming release, it will be required")\n'
        '    warnings.warn("of your own")\n'
        'run(main)\n'
    )
    told = run_python(code)
    assert 'meshgrid' not in told
    assert 'of your own' in told
    assert 'meshgrid' in run_python(code, PYTHONWARNINGS='default')


def test_warnings_of_the_library_stay():
    """Filters are set by commands, not by an import."""
    code = 'import warnings; before = list(warnings.filters); import mmic.engine.command_line'
    told = run_python(f'{code}; print("meshgrid" in str(warnings.filters))')
    assert told.splitlines()[-1] == 'False'
    with warnings.catch_warnings():
        quieten()


def test_reader_that_goes_ends_a_command_silently():
    """As `show_pattern ... | head -1` does."""
    command = f'"{sys.executable}" {TOOLS}/reproduce.py list | head -1'
    done = subprocess.run(
        ['bash', '-o', 'pipefail', '-c', command],
        env=tool_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stderr == ''
    assert done.returncode in (0, 1)


# Files


def test_file_that_cannot_be_written_to_its_end_is_named(tmp_path):
    """A limit of sizes stands for a full disk: torch says 'unexpected pos', others OSError."""
    path = tmp_path / 'weights.pth'
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match='no space is left') as error:
            write_file(path, lambda name: torch.save(torch.zeros(100_000), name))
        assert error.value.filename == str(path)
        with pytest.raises(OSError, match='File too large') as error:
            write_file(path, lambda name: Path(name).write_text('a' * 100_000))
        assert error.value.filename == str(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_writers_own_faults_stay(tmp_path):
    def write(name):
        raise RuntimeError('shapes differ')

    with pytest.raises(RuntimeError, match='shapes differ'):
        write_file(tmp_path / 'a', write)
    assert list(tmp_path.iterdir()) == []


def test_places_without_writing_are_found_before_work(tmp_path, monkeypatch):
    file = tmp_path / 'file'
    file.touch()
    check_folder(tmp_path / 'new' / 'folder')
    assert not (tmp_path / 'new').exists()
    with pytest.raises(NotADirectoryError, match=f'below/a cannot be written: {file} is not a'):
        check_folder(file / 'below' / 'a')
    # Permission bits do not bind root, who may run this.
    monkeypatch.setattr(os, 'access', lambda *_: False)
    with pytest.raises(PermissionError, match=f'no permission to write in {tmp_path}'):
        check_folder(tmp_path / 'new')


def test_inputs_are_not_given_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.pth').touch()
    (tmp_path / 'link').symlink_to('a.pth')
    for output in ('a.pth', './a.pth', tmp_path / 'a.pth', 'link'):
        with pytest.raises(BadFileError, match='named twice'):
            check_outputs([output], ['a.pth', None], overwrite=True)
    with pytest.raises(BadFileError, match='new is named twice'):
        check_outputs(['new', './new'])
    check_outputs(['new', None, 'other'], ['a.pth'])


# Every command that writes: a place that cannot be written is found at once.

OUTPUTS = {
    'benchmark.py': ['layers', '--json', 'OUT'],
    'coco_split.py': ['holdout', 'a.json', '--num', '1', '--out-dir', 'OUT'],
    'compare_detections.py': [TOY, 'a.pth', '--out', 'OUT'],
    'convert_checkpoint.py': ['doconv', 'a.pth', '--out', 'OUT'],
    'cr_search.py': ['stage', TOY, 'a.pth', '--out', 'OUT'],
    'demo.py': ['--work-dir', 'OUT'],
    'deploy.py': [TOY, 'a.pth', '--out', 'OUT'],
    'edo_search.py': [TOY, 'a.pth', '--out', 'OUT'],
    'generated_data.py': ['--out', 'OUT', '--formats', 'coco'],
    'nats_search.py': [TOY, 'a.pth', '--out', 'OUT.json'],
    'plot_curves.py': ['a folder', '--out', 'OUT'],
    'plot_results.py': ['macs-ap', '--out', 'OUT'],
    'plot_weights.py': [TOY, 'a.pth', '--out', 'OUT'],
    'reproduce.py': ['report', '--out', 'OUT.md'],
    'show_pattern.py': [PATTERN, '--out', 'OUT'],
    'test.py': [TOY, TOY, '--work-dir', 'OUT'],
    'test_configs.py': [TOY, '--work-dir', 'OUT'],
    'toy_coco.py': ['--out', 'OUT', '--num-train', '4', '--num-val', '2'],
    'toy_compare.py': ['--list', '--work-dir', 'OUT'],
    'train.py': [TOY, '--work-dir', 'OUT'],
    'visualize_erf.py': [TOY, '--out', 'OUT'],
}
READS = {'complexity.py', 'setup_env.py'}


def test_every_command_is_tried():
    assert {path.name for path in TOOLS.glob('*.py')} - READS <= set(OUTPUTS)


@pytest.mark.parametrize('name', sorted(OUTPUTS))
def test_place_that_cannot_be_written_is_a_line(name, tmp_path):
    file = tmp_path / 'a file'
    file.write_text('mine')
    out = str(file / 'below' / 'out.png')
    arguments = [str(word).replace('OUT', out) for word in OUTPUTS[name]]
    done = call_tool(name, *arguments)
    ends_in_a_line(done, name, f'cannot be written: {file} is not a folder.')
    assert file.read_text() == 'mine'


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('convert_checkpoint.py', ['doconv', 'CHECKPOINT']),
        ('cr_search.py', ['stage', TOY, 'CHECKPOINT']),
        ('edo_search.py', [TOY, 'CHECKPOINT']),
        ('nats_search.py', [TOY, 'CHECKPOINT']),
        ('plot_weights.py', [TOY, 'CHECKPOINT']),
        ('visualize_erf.py', [TOY, 'CHECKPOINT']),
    ],
)
def test_checkpoint_is_not_given_up_for_the_result(name, arguments, tmp_path):
    path = tmp_path / 'checkpoint.pth'
    path.write_bytes(b'mine')
    arguments = [path if word == 'CHECKPOINT' else word for word in arguments]
    done = call_tool(name, *arguments, '--out', path, '--overwrite')
    ends_in_a_line(done, name, f'{path} is named twice')
    assert path.read_bytes() == b'mine'


# Configs that cannot be used


@pytest.fixture(scope='module')
def plain(tmp_path_factory, toy_data):
    return write_detector_config(tmp_path_factory.mktemp('a') / 'plain.py', toy_data, type='ResNet')


BAD = {
    'no_model': ('x = 1', 'has no model: expected a config of MMDetection'),
    'number': ('model = 3', 'has no model'),
    'syntax': ('\nmodel = (1', ", line 2: '(' was never closed"),
    'no_base': ("_base_ = './gone.py'", 'gone.py, which is not there'),
    'no_package': ("_base_ = 'mmnone::a.py'", 'no mm* package'),
    'no_import': ("custom_imports = dict(imports=['mmnone'])", 'Install mmnone'),
    'raises': ('a = 1\nb = a / 0\n', 'line 2: ZeroDivisionError'),
    'type': ("model = dict(type='FasterRCN')", "called 'FasterRCN'; did you mean 'FasterRCNN'?"),
    'scope': ("model = dict(type='mmnone.A')", 'If it is of mmnone'),
    'no_type': ('model = dict(depth=18)', "{'depth': 18} has no `type`"),
    'argument': ("model = dict(type='ResNet', depht=18)", 'no depht; did you mean depth?'),
    'value': ("model = dict(type='ResNet', depth=19)", 'invalid depth 19 for resnet'),
}
SCOPE = "\ndefault_scope = 'mmdet'\n"


@pytest.mark.parametrize('kind', sorted(BAD))
def test_config_that_cannot_be_used_is_a_line(kind, tmp_path):
    content, told = BAD[kind]
    path = tmp_path / f'{kind}.py'
    path.write_text(content + SCOPE)
    done = call_tool('complexity.py', path, '--shape', 32, 32)
    ends_in_a_line(done, 'complexity.py', told)
    assert str(path) in done.text


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        ('a.txt', 'x', 'a.txt is not a config: they end in .py'),
        ('a.json', '[1, 2]', 'a.json is not a config: it holds a list'),
        ('a.yml', 'a: [1', 'a.yml cannot be read as a config'),
    ],
)
def test_file_that_is_no_config_is_a_line(name, content, told, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    ends_in_a_line(call_tool('complexity.py', path, '--shape', 32, 32), 'complexity.py', told)
    folder = call_tool('complexity.py', tmp_path, '--shape', 32, 32)
    ends_in_a_line(folder, 'complexity.py', 'is a folder, not a config file')


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('cr_search.py', ['stage', 'CONFIG', 'a.pth', '--out', 'new.json']),
        ('deploy.py', ['CONFIG', 'a.pth', '--out', 'new']),
        ('edo_search.py', ['CONFIG', 'a.pth', '--out', 'new.json']),
        ('nats_search.py', ['CONFIG', 'a.pth', '--out', 'new.json']),
        ('plot_weights.py', ['CONFIG', 'a.pth', '--out', 'new.png']),
        ('test.py', ['CONFIG', TOY]),
        ('train.py', ['CONFIG']),
        ('visualize_erf.py', ['CONFIG', '--out', 'new.png']),
    ],
)
@pytest.mark.parametrize('kind', ['no_model', 'no_base'])
def test_every_command_tells_of_its_config(name, arguments, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f'{kind}.py'
    path.write_text(BAD[kind][0] + SCOPE)
    arguments = [path if word == 'CONFIG' else word for word in arguments]
    ends_in_a_line(call_tool(name, *arguments), name, BAD[kind][1])
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ('option', 'told'),
    [
        ('modle.backbone.depth=18', 'has no modle; did you mean model.backbone.depth?'),
        ('model.backbone.detph=18', 'ResNet takes no detph; did you mean depth?'),
        ('model.neck.type=FPNN', "no model is called 'FPNN'; did you mean 'FPN'?"),
        ('train_dataloader.dataset.pipeline.9.type=A', 'Index 9 exceeds'),
        ('model.backbone.depth.x=3', 'does not fit'),
    ],
)
@pytest.mark.parametrize('name', ['complexity.py', 'train.py'])
def test_option_that_fits_nothing_is_a_line(name, option, told, plain, tmp_path):
    arguments = ['--shape', 32, 32] if name == 'complexity.py' else ['--work-dir', tmp_path / 'run']
    done = call_tool(name, plain, *arguments, '--cfg-options', option)
    ends_in_a_line(done, name, told)


def test_training_tells_what_cannot_be_built_once_it_runs(plain, tmp_path):
    arguments = [plain, '--work-dir', tmp_path / 'run', '--cfg-options']
    option = 'train_dataloader.dataset.ann_fiel=a.json'
    done = call_tool('train.py', *arguments, option)
    ends_in_a_line(done, 'train.py', 'CocoDataset takes no ann_fiel; did you mean ann_file?')
    done = call_tool('train.py', *arguments, 'train_dataloader.dataset.ann_file=gone.json')
    ends_in_a_line(done, 'train.py', 'gone.json: No such file or directory')


def test_missing_checkpoint_is_a_line(plain, tmp_path):
    gone = tmp_path / 'gone.pth'
    done = call_tool('test.py', plain, gone, '--work-dir', tmp_path / 'run')
    ends_in_a_line(done, 'test.py', f'There is no checkpoint {gone}.')
    arguments = [plain, '--work-dir', tmp_path / 'run', '--resume', gone]
    ends_in_a_line(call_tool('train.py', *arguments), 'train.py', f'There is no checkpoint {gone}.')


def test_full_layer_names_stand_in_tables_of_80_columns(monkeypatch):
    done = subprocess.run(
        [sys.executable, TOOLS / 'reproduce.py', 'list', '--paper', 'ic'],
        env=tool_environment(COLUMNS='80'),
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    row = next(line for line in done.stdout.splitlines() if ' ic.t1.r18.base ' in line)
    assert '.py' in row
    assert '…' not in done.stdout


def test_configs_of_several_packages_are_counted_without_noise(plain, tmp_path):
    config = tmp_path / 'classifier.py'
    backbone = "backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=8)"
    config.write_text(
        f"model = dict(type='ImageClassifier', {backbone})\ndefault_scope = 'mmpretrain'\n"
    )
    done = call_tool('complexity.py', config, plain, config, '--shape', 64, 64)
    assert done.code == 0, done.text
    assert done.text.count(' classifier ') == 2
    assert 'WARN' not in done.text.upper()


def whole(model):
    return model


@pytest.mark.parametrize(
    ('wrap', 'flags'),
    [
        (lambda model: {'model': model.state_dict(), 'epoch': 3}, []),
        (lambda model: {f'_orig_mod.{k}': v for k, v in model.state_dict().items()}, []),
        (whole, ['--trust-checkpoint']),
    ],
)
@pytest.mark.parametrize('name', ['deploy.py', 'visualize_erf.py'])
def test_commands_take_checkpoints_of_other_trainers(name, wrap, flags, plain, tmp_path):
    torch.manual_seed(0)
    checkpoint = tmp_path / 'weights.pt'
    torch.save(wrap(build_model(plain)), checkpoint)
    size = ['--shape', 64, 64] if name == 'deploy.py' else ['--size', 64]
    done = call_tool(name, plain, checkpoint, '--out', tmp_path / 'out.png', *size, *flags)
    assert done.code == 0, done.text
    if flags:
        done = call_tool(name, plain, checkpoint, '--out', tmp_path / 'new.png', *size)
        ends_in_a_line(done, name, 'a whole pickled model, mmdet.models')
        assert '--trust-checkpoint' in done.text


def test_pattern_of_a_path_with_spaces_goes_from_hint_to_training(plain, tmp_path):
    """What --cfg-options reads is what option_told prints, whatever the folder is called."""
    folder = tmp_path / 'my runs, [v2] (new)'
    folder.mkdir()
    pattern = folder / 'p.json'
    pattern.write_text(PATTERN.read_text())
    names = json.loads(pattern.read_text())['layers']
    config = CONFIGS / 'faster-rcnn_ic-r18-k9_fpn_toy.py'
    option = option_word('model.backbone.pattern', str(pattern))
    done = call_tool('complexity.py', config, '--shape', 64, 64, '--cfg-options', option)
    assert done.code == 0, done.text
    assert names
    pattern.unlink()
    done = call_tool('complexity.py', config, '--shape', 64, 64, '--cfg-options', option)
    ends_in_a_line(done, 'complexity.py', str(pattern))
