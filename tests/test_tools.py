"""The commands: what they refuse, what they say, and what they leave untouched."""

import json
import os
import re
import zipfile
from unittest import mock

import pytest
import torch
from helpers import (
    TOOLS,
    build_model,
    call_search,
    call_tool,
    is_searched,
    load_state,
    naive_edo,
    read_dilations,
    run_command,
    write_detector_config,
)
from mmengine.config import Config
from mmengine.runner import Runner

PNG = b'\x89PNG\r\n\x1a\n'
COMMANDS = sorted(path.name for path in TOOLS.glob('*.py'))


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('tools')


@pytest.fixture(scope='module')
def plain(folder, toy_data):
    """Config and checkpoint of the plain detector."""
    config = write_detector_config(folder / 'plain.py', toy_data, type='ResNet')
    checkpoint = folder / 'plain.pth'
    torch.manual_seed(0)
    torch.save({'state_dict': build_model(config).state_dict()}, checkpoint)
    return config, checkpoint


@pytest.fixture
def changed(supernet, tmp_path):
    """A function that saves the supernet's checkpoint after a change to its state dict."""

    def save(change):
        state = load_state(supernet.checkpoint)
        change(state)
        path = tmp_path / 'changed.pth'
        torch.save({'state_dict': state}, path)
        return path

    return save


def refused(supernet, tmp_path, *arguments, config=None, checkpoint=None, code=1):
    """Call edo_search, which must fail and write nothing; return what it printed."""
    out = tmp_path / 'refused.json'
    config, checkpoint = config or supernet.config, checkpoint or supernet.checkpoint
    done = call_tool('edo_search.py', config, checkpoint, '--out', out, *arguments)
    assert done.code == code, done.text
    assert 'Traceback' not in done.text
    assert not list(tmp_path.glob('*refused*'))
    return done.text


# All commands


@pytest.mark.parametrize('name', COMMANDS)
def test_help_explains_every_argument(name):
    assert 'parse_args()' in (TOOLS / name).read_text()
    done = call_tool(name, '--help')
    assert done.code == 0
    usage, _, rest = done.text.partition('\n\n')
    assert usage.startswith(f'usage: {name}')
    # A sentence on the command, then each argument with its own.
    assert re.match(r'[A-Z].{20,}', rest)
    for line, below in zip(rest.splitlines(), [*rest.splitlines()[1:], '']):
        if re.match(r'  (-|\w)', line) and not line.startswith('  -h'):
            assert re.search(r'\S {2,}\S', line) or re.match(r' {10,}\S', below), line


@pytest.mark.parametrize(
    'name', [name for name in COMMANDS if name in ('train.py', 'test.py', 'edo_search.py')]
)
def test_unknown_option_is_refused(name):
    done = call_tool(name, 'config.py', '--no-such-option')
    assert done.code == 2
    assert 'usage:' in done.text


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh'])
def test_distributed_commands_tell_their_usage(name):
    printed = run_command('bash', TOOLS / name, 'config.py', code=2)
    assert f'Usage: tools/{name} CONFIG' in printed
    assert 'PROCESSES' in printed
    assert 'PORT' in printed


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh'])
def test_distributed_commands_can_be_executed(name):
    assert os.access(TOOLS / name, os.X_OK)


# edo_search.py


@pytest.mark.parametrize('space', ['full', '1d', 'layer'])
def test_search_in_each_space_is_what_loops_find(supernet, tmp_path, space):
    out = tmp_path / 'pattern.json'
    arguments = ['--layout', 'position', '--space', space]
    found, text = call_search(supernet.config, supernet.checkpoint, out, *arguments)
    state = load_state(supernet.checkpoint)
    assert len(found) == 16
    for name, dilations in found.items():
        assert dilations == naive_edo(state[f'backbone.{name}.weight'], space), name
        assert name in text
    meta = json.loads(out.read_text())['meta']
    assert (meta['space'], meta['layout']) == (space, 'position')
    assert meta['checkpoint'] == str(supernet.checkpoint)


def test_search_reads_the_checkpoint_alone(supernet, tmp_path):
    """No data set: the config names folders that are not there."""
    text = supernet.config.read_text()
    config = tmp_path / 'no_data.py'
    config.write_text(re.sub("data_root = '.*'", "data_root = 'nowhere/'", text))
    call_search(config, supernet.checkpoint, tmp_path / 'pattern.json')


def test_search_does_not_touch_the_checkpoint(supernet, tmp_path):
    before = supernet.checkpoint.read_bytes()
    arguments = ['--init-weights', tmp_path / 'init.pth']
    call_search(supernet.config, supernet.checkpoint, tmp_path / 'pattern.json', *arguments)
    assert supernet.checkpoint.read_bytes() == before


def test_search_makes_missing_folders(supernet, tmp_path):
    out = tmp_path / 'new' / 'folder' / 'pattern.json'
    call_search(supernet.config, supernet.checkpoint, out)
    assert [path.name for path in out.parent.iterdir()] == ['pattern.json']


def test_scope_chooses_a_part_and_names_are_relative_to_it(supernet, pattern, tmp_path):
    whole = read_dilations(pattern)
    out = tmp_path / 'stage.json'
    found, _ = call_search(supernet.config, supernet.checkpoint, out, '--scope', 'backbone.layer2')
    assert json.loads(out.read_text())['scope'] == 'backbone.layer2'
    start = 'layer2.'
    expected = {name[len(start) :]: whole[name] for name in whole if name.startswith(start)}
    assert len(expected) == 4
    assert found == expected


def test_default_scope_is_the_backbone(pattern):
    data = json.loads(pattern.read_text())
    assert data['scope'] == 'backbone'
    assert data['stage_blocks'] == [2, 2, 2, 2]
    assert data['method'] == 'edo'


def test_checkpoint_of_a_distributed_model_is_read(supernet, pattern, tmp_path):
    state = load_state(supernet.checkpoint)
    checkpoint = tmp_path / 'ddp.pth'
    torch.save({f'module.{name}': value for name, value in state.items()}, checkpoint)
    found, _ = call_search(supernet.config, checkpoint, tmp_path / 'pattern.json')
    assert found == read_dilations(pattern)


def test_half_precision_checkpoint_is_searched_as_it_is(supernet, changed, tmp_path):
    def halve(state):
        state.update((name, value.half()) for name, value in state.items() if value.ndim == 4)

    checkpoint = changed(halve)
    arguments = ['--layout', 'position']
    found, _ = call_search(supernet.config, checkpoint, tmp_path / 'pattern.json', *arguments)
    state = load_state(checkpoint)
    for name, dilations in found.items():
        assert dilations == naive_edo(state[f'backbone.{name}.weight']), name


def test_existing_pattern_is_kept_without_overwrite(supernet, tmp_path):
    out = tmp_path / 'mine.json'
    out.write_text('mine')
    done = call_tool('edo_search.py', supernet.config, supernet.checkpoint, '--out', out)
    assert done.code == 1
    assert f'{out} exists and is kept; pass --overwrite' in done.text
    assert out.read_text() == 'mine'
    found, _ = call_search(supernet.config, supernet.checkpoint, out, '--overwrite')
    assert len(found) == 16


def test_existing_weights_are_kept_without_overwrite(supernet, tmp_path):
    init = tmp_path / 'init.pth'
    init.write_text('mine')
    text = refused(supernet, tmp_path, '--init-weights', init)
    assert f'{init} exists and is kept; pass --overwrite' in text
    assert init.read_text() == 'mine'


def test_folder_for_out_is_refused(supernet, tmp_path):
    done = call_tool('edo_search.py', supernet.config, supernet.checkpoint, '--out', tmp_path)
    assert done.code == 1
    assert f'{tmp_path} is a folder' in done.text


def test_inherited_weights_in_sorted_layout_are_refused(supernet, tmp_path):
    init = tmp_path / 'init.pth'
    arguments = ['--init-weights', init, '--layout', 'sorted']
    text = refused(supernet, tmp_path, *arguments, code=2)
    assert '--init-weights needs --layout position' in text
    assert not init.exists()


def test_plain_checkpoint_is_refused(supernet, plain, tmp_path):
    text = refused(supernet, tmp_path, checkpoint=plain[1])
    assert "layer 'backbone.layer1.0.conv1' has shape (8, 8, 3, 3)" in text
    assert 'a plain or searched network, not a supernet' in text
    assert 'EDO reads 5x5 kernels' in text


def test_searched_checkpoint_is_refused(supernet, searched_config, tmp_path):
    checkpoint = tmp_path / 'searched.pth'
    torch.save(build_model(searched_config).state_dict(), checkpoint)
    text = refused(supernet, tmp_path, checkpoint=checkpoint)
    assert "layer 'backbone.layer1.0.conv1'" in text
    assert 'a plain or searched network, not a supernet' in text


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_broken_weights_are_refused_by_layer(supernet, changed, tmp_path, value):
    def spoil(state):
        state['backbone.layer3.1.conv2.weight'][5, 3, 0, 1] = value

    text = refused(supernet, tmp_path, checkpoint=changed(spoil))
    assert 'layer3.1.conv2' in text
    assert 'NaN or infinite' in text
    assert not re.search(r'layer[124]', text.partition('edo_search:')[2])


def test_config_without_supernet_layers_is_refused(supernet, plain, tmp_path):
    text = refused(supernet, tmp_path, config=plain[0])
    assert 'holds no supernet layers' in text
    assert 'd_max' in text


@pytest.mark.parametrize(
    ('scope', 'told'),
    [
        ('neck', "'neck' holds no supernet layers"),
        ('backbone.layer9', "no part 'backbone.layer9'"),
        ('back', "no part 'back'"),
    ],
)
def test_scope_without_supernet_layers_is_refused(supernet, tmp_path, scope, told):
    assert told in refused(supernet, tmp_path, '--scope', scope)


def test_checkpoint_without_a_layer_is_refused(supernet, changed, tmp_path):
    text = refused(
        supernet,
        tmp_path,
        checkpoint=changed(lambda state: state.pop('backbone.layer2.0.conv1.weight')),
    )
    assert "layer 'backbone.layer2.0.conv1' is not in the checkpoint" in text


@pytest.mark.parametrize(
    ('change', 'shape'),
    [({'d_max': 3}, '(8, 8, 7, 7)'), ({'base_channels': 4, 'd_max': 2}, '(4, 4, 5, 5)')],
)
def test_checkpoint_of_another_supernet_is_refused(supernet, tmp_path, toy_data, change, shape):
    cfg = Config.fromfile(supernet.config)
    cfg.model.backbone.update(change)
    cfg.dump(tmp_path / 'other.py')
    text = refused(supernet, tmp_path, config=tmp_path / 'other.py')
    told = f"layer 'backbone.layer1.0.conv1' has shape (8, 8, 5, 5) where the config has {shape}"
    assert told in text
    assert 'plain' not in text.partition('edo_search:')[2]


def test_missing_files_are_named(supernet, tmp_path):
    missing = tmp_path / 'missing.pth'
    assert str(missing) in refused(supernet, tmp_path, checkpoint=missing)
    missing = tmp_path / 'missing.py'
    assert f'no config file {missing}' in refused(supernet, tmp_path, config=missing)


def cut_short(checkpoint):
    content = checkpoint.read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize('trust', [[], ['--trust-checkpoint']])
@pytest.mark.parametrize(
    ('label', 'content'),
    [
        ('text', b'epoch_12 is in the other folder\n'),
        ('json', b'{"state_dict": {}}'),
        ('empty', b''),
        ('zeros', bytes(1000)),
        ('picture', PNG + bytes(100)),
        ('page', b'<!DOCTYPE html><html>404: Not found</html>'),
        ('pickle', b'\x80\x02}q\x00.'),
        ('cut', cut_short),
    ],
)
def test_file_that_is_no_checkpoint_is_refused(supernet, tmp_path, label, content, trust):
    path = tmp_path / f'{label}.pth'
    path.write_bytes(content(supernet.checkpoint) if callable(content) else content)
    text = refused(supernet, tmp_path, *trust, checkpoint=path)
    told = rf'edo_search: {re.escape(str(path))} (is not|cannot be read as) a checkpoint'
    assert re.search(told, text)
    assert '--trust-checkpoint' not in text


@pytest.mark.parametrize('content', [[1, 2], {'state_dict': [1]}, {'state_dict': {}}, {1: 2}])
def test_file_without_weights_is_refused(supernet, tmp_path, content):
    path = tmp_path / 'odd.pth'
    torch.save(content, path)
    text = refused(supernet, tmp_path, checkpoint=path)
    assert re.search(rf'{re.escape(str(path))} holds no (state dict|tensors)', text)


def hidden_call(checkpoint, path, marker):
    """Write a checkpoint that runs code when mmengine's own allow-list is given to torch.

    ``getattr`` leads to ``eval``, and mmengine's HistoryBuffer lets a file set its
    ``__setstate__``, which the next BUILD calls.
    """

    def name(module, attribute):
        return b'c%s\n%s\n' % (module, attribute)

    def text(value):
        return b'X' + len(value).to_bytes(4, 'little') + value

    get = name(b'builtins', b'getattr')
    builtins = get + get + text(b'__self__') + b'\x86R'
    evaluate = get + builtins + text(b'eval') + b'\x86R'
    history = name(b'mmengine.logging.history_buffer', b'HistoryBuffer') + b')R'
    code = f'__import__("os").mkdir({str(marker)!r})'.encode()
    build = b'}' + text(b'__setstate__') + evaluate + b'sb' + text(code) + b'b'
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(path, 'w') as target:
        for item in source.infolist():
            content = source.read(item.filename)
            if item.filename.endswith('data.pkl'):
                content = b'\x80\x02' + history + build + b'.'
            target.writestr(item.filename, content)


def saved_payload(checkpoint, path, marker):
    """Write a whole checkpoint with an object that makes a folder."""
    state = load_state(checkpoint)
    torch.save({'state_dict': state, 'meta': Payload(marker)}, path)


def old_payload(checkpoint, path, marker):
    """The same in torch's format from before zip files."""
    content = {'state_dict': load_state(checkpoint), 'meta': Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize('write', [saved_payload, old_payload, hidden_call])
def test_code_in_a_checkpoint_is_not_run(supernet, tmp_path, write):
    path, marker = tmp_path / 'payload.pth', tmp_path / 'marker'
    write(supernet.checkpoint, path, marker)
    text = refused(supernet, tmp_path, checkpoint=path)
    assert f'edo_search: {path} ' in text
    assert not marker.exists()


def test_trust_is_offered_and_unpickles_everything(supernet, pattern, tmp_path):
    path, marker = tmp_path / 'payload.pth', tmp_path / 'marker'
    saved_payload(supernet.checkpoint, path, marker)
    text = refused(supernet, tmp_path, checkpoint=path)
    assert f'{path} cannot be read safely' in text
    assert 'posix.mkdir' in text
    assert 'pass --trust-checkpoint' in text
    out = tmp_path / 'pattern.json'
    found, _ = call_search(supernet.config, path, out, '--trust-checkpoint')
    assert found == read_dilations(pattern)
    assert marker.is_dir()


def test_untrained_supernet_is_warned_about(supernet, changed, tmp_path):
    """Weights drawn independently make EDO's choice a uniform draw."""

    def forget(state):
        torch.manual_seed(0)
        for name, value in state.items():
            if is_searched(name, value):
                state[name] = torch.randn_like(value)

    _, text = call_search(supernet.config, changed(forget), tmp_path / 'pattern.json')
    warning = re.search(r'Warning: in (\d+) of 16 layers the choice cannot be told from', text)
    # At a level of 1 % about none of 16 layers is taken for a trained one.
    assert int(warning[1]) >= 14
    assert 'layer4.1.conv2' in text[warning.start() :].partition('That')[0]


def concentrate(state):
    """Put three quarters of every layer's filters on the centre taps, others on (2, 2)."""
    for name, value in state.items():
        if is_searched(name, value):
            dense = torch.zeros_like(value)
            quarter = len(value) // 4
            torch.manual_seed(0)
            centre = torch.rand(*value.shape[:2], 3, 3) + 1
            dense[quarter:, :, 1:4, 1:4] = centre[quarter:]
            dense[:quarter, :, ::2, ::2] = centre[:quarter]
            state[name] = dense


def test_trained_supernet_is_not_warned_about(supernet, changed, tmp_path):
    arguments = ['--layout', 'position']
    found, text = call_search(
        supernet.config, changed(concentrate), tmp_path / 'pattern.json', *arguments
    )
    for dilations in found.values():
        quarter = len(dilations) // 4
        assert dilations == [(2, 2)] * quarter + [(1, 1)] * (3 * quarter)
    assert 'Warning' not in text


def test_one_choice_a_layer_is_not_warned_about(supernet, tmp_path):
    out = tmp_path / 'pattern.json'
    _, text = call_search(supernet.config, supernet.checkpoint, out, '--space', 'layer')
    assert 'Warning' not in text


def test_brackets_in_names_are_printed_as_they_are(supernet, tmp_path):
    out = tmp_path / 'runs[bold]' / 'pattern[v2].json'
    _, text = call_search(supernet.config, supernet.checkpoint, out)
    assert f'Wrote {out}' in text
    assert f"pattern='{out}'" in text


# show_pattern.py


def published_form(path):
    """Write a pattern file of the form that the authors of Inception Convolution published."""
    path.write_text(json.dumps([{'(0, 0)': 5, '(1, 3)': 3}, {'(2, 0)': 16}]))
    return path


def test_show_prints_counts_and_draws(pattern, tmp_path):
    out = tmp_path / 'picture.png'
    done = call_tool('show_pattern.py', pattern, '--out', out)
    assert done.code == 0
    assert out.read_bytes()[:8] == PNG
    for name, dilations in read_dilations(pattern).items():
        row = next(line for line in done.text.splitlines() if re.search(rf'│ {name} ', line))
        counts = {pair: dilations.count(pair) for pair in dilations}
        for (h, w), count in counts.items():
            assert f'({h}, {w}) x {count}' in row
        assert f' {counts.get((1, 1), 0) / len(dilations):.0%} ' in row


def test_show_reads_the_published_form(tmp_path):
    done = call_tool('show_pattern.py', published_form(tmp_path / 'published.json'))
    assert done.code == 0
    assert (tmp_path / 'published.png').read_bytes()[:8] == PNG
    assert re.search(r'conv1 .*\(1, 1\) x 5, \(2, 4\) x 3', done.text)
    assert re.search(r'conv2 .*\(3, 1\) x 16', done.text)


def test_show_keeps_an_existing_picture(tmp_path):
    source, picture = published_form(tmp_path / 'a.json'), tmp_path / 'a.png'
    picture.write_text('mine')
    done = call_tool('show_pattern.py', source)
    assert done.code == 1
    assert f'{picture} exists and is kept; pass --overwrite' in done.text
    assert picture.read_text() == 'mine'
    assert call_tool('show_pattern.py', source, '--overwrite').code == 0
    assert picture.read_bytes()[:8] == PNG


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (None, 'There is no pattern file'),
        ('not JSON', 'not a whole JSON file'),
        ('{"format": "other"}', "format is 'other'"),
        ('[{"(0, -1)": 4}]', 'expected a key like'),
        ('[]', 'there are no layers in it'),
        (
            '{"format": "mmic.pattern", "version": 1, "method": "edo", "layers": {}}',
            'there are no layers in it',
        ),
    ],
)
def test_show_refuses_what_is_no_pattern(tmp_path, content, told):
    path = tmp_path / 'odd.json'
    if content is not None:
        path.write_text(content)
    done = call_tool('show_pattern.py', path)
    assert done.code == 1
    assert f'show_pattern: {path}' in done.text or f'no pattern file {path}' in done.text
    assert told in done.text
    assert not (tmp_path / 'odd.png').exists()


# train.py and test.py: the settings that reach the Runner; test_chain.py runs them


def runner_config(name, *arguments):
    """Call a command as far as the Runner; return the config that the Runner is given."""
    with mock.patch.object(Runner, 'from_cfg') as built:
        done = call_tool(name, *arguments)
    assert done.code == 0, done.text
    return built.call_args.args[0]


def test_options_change_the_config(plain):
    options = ['model.backbone.depth=34', 'optim_wrapper.optimizer.lr=0.5', 'val_cfg=None']
    cfg = runner_config('train.py', plain[0], '--cfg-options', *options)
    assert cfg.model.backbone.depth == 34
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.val_cfg is None
    assert cfg.model.backbone.base_channels == 8
    assert not cfg.resume
    assert cfg.optim_wrapper.type == 'OptimWrapper'


def test_work_dir_is_the_argument_else_the_config_s_else_named_after_it(plain, tmp_path):
    assert runner_config('train.py', plain[0], '--work-dir', 'here').work_dir == 'here'
    assert runner_config('train.py', plain[0]).work_dir == os.path.join('work_dirs', 'plain')
    config = tmp_path / 'named.py'
    config.write_text(f"_base_ = '{plain[0].as_posix()}'\nwork_dir = 'there'\n")
    assert runner_config('train.py', config).work_dir == 'there'
    assert runner_config('train.py', config, '--work-dir', 'here').work_dir == 'here'


def test_amp_asks_for_mixed_precision_with_loss_scaling(plain):
    cfg = runner_config('train.py', plain[0], '--amp')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.optim_wrapper.optimizer.type == 'SGD'


def test_resume_takes_the_newest_or_the_named_checkpoint(plain):
    cfg = runner_config('train.py', plain[0], '--resume')
    assert (cfg.resume, cfg.load_from) == (True, None)
    cfg = runner_config('train.py', plain[0], '--resume', 'epoch_3.pth')
    assert (cfg.resume, cfg.load_from) == (True, 'epoch_3.pth')


def test_auto_scale_lr_needs_a_batch_size_to_scale_from(plain, tmp_path):
    done = call_tool('train.py', plain[0], '--auto-scale-lr')
    assert done.code == 2
    assert f'{plain[0]} sets no auto_scale_lr.base_batch_size to scale from' in done.text
    config = tmp_path / 'scaled.py'
    config.write_text(
        f"_base_ = '{plain[0].as_posix()}'\nauto_scale_lr = dict(base_batch_size=16)\n"
    )
    cfg = runner_config('train.py', config, '--auto-scale-lr')
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    assert 'enable' not in runner_config('train.py', config).auto_scale_lr


def test_predictions_file_must_be_a_pickle(plain, tmp_path):
    done = call_tool('test.py', *plain, '--out', tmp_path / 'predictions.json')
    assert done.code == 2
    assert 'must end in .pkl' in done.text


def test_several_views_need_a_config_that_has_them(plain, tmp_path):
    done = call_tool('test.py', *plain, '--tta')
    assert done.code == 2
    assert f'--tta needs tta_model and tta_pipeline in {plain[0]}' in done.text
    config = tmp_path / 'views.py'
    views = "tta_model = dict(type='Merge')\ntta_pipeline = [dict(type='Views')]"
    config.write_text(f"_base_ = '{plain[0].as_posix()}'\n{views}\n")
    cfg = runner_config('test.py', config, plain[1], '--tta')
    assert (cfg.model.type, cfg.model.module.type) == ('Merge', 'FasterRCNN')
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='Views')]
    assert runner_config('test.py', config, plain[1]).model.type == 'FasterRCNN'


def test_show_dir_needs_a_visualisation_hook(plain, tmp_path):
    config = tmp_path / 'blind.py'
    config.write_text(
        f"_base_ = '{plain[0].as_posix()}'\ndefault_hooks = dict(visualization=None)\n"
    )
    done = call_tool('test.py', config, plain[1], '--show-dir', 'pictures')
    assert done.code == 2
    assert 'has no default_hooks.visualization' in done.text


@pytest.mark.parametrize(
    ('hook', 'expected'),
    [
        ('DetVisualizationHook', {'draw': True, 'test_out_dir': '{cwd}/pictures'}),
        ('mmpose.PoseVisualizationHook', {'enable': True, 'out_dir': '{cwd}/pictures'}),
        ('VisualizationHook', {'enable': True, 'out_dir': '{cwd}/pictures'}),
    ],
)
def test_show_dir_reaches_the_hook_of_each_package(plain, tmp_path, monkeypatch, hook, expected):
    """As an absolute path, since the hooks put a relative one below the work dir."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'hook.py'
    hooks = f"default_hooks = dict(visualization=dict(type='{hook}'))"
    config.write_text(f"_base_ = '{plain[0].as_posix()}'\n{hooks}\n")
    cfg = runner_config('test.py', config, plain[1], '--show-dir', 'pictures')
    for key, value in expected.items():
        wanted = value.format(cwd=tmp_path) if isinstance(value, str) else value
        assert cfg.default_hooks.visualization[key] == wanted
    assert cfg.load_from == str(plain[1])


def test_missing_config_is_named(tmp_path):
    done = call_tool('train.py', tmp_path / 'missing.py')
    assert done.code == 1
    assert done.text == f'train: There is no config file {tmp_path / "missing.py"}.'
