"""mmengine's own loading in our commands: safe, from any trainer, and complete enough to resume."""

import os
import pickle
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from helpers import build_model, call_tool, write_detector_config
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from torch import nn

from mmic.engine.safe_loading import read_safely
from mmic.files import BadFileError


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Reach:
    """Goes through mmengine's allow-list to ``eval``, by ``getattr`` alone."""

    def __reduce__(self):
        return getattr, (Chain(getattr, '__self__'), 'eval')


class Chain:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return getattr, self.arguments


@pytest.fixture(scope='module')
def plain(tmp_path_factory, toy_data):
    folder = tmp_path_factory.mktemp('plain')
    config = write_detector_config(folder / 'plain.py', toy_data, type='ResNet')
    torch.manual_seed(0)
    return config, build_model(config).state_dict()


@pytest.fixture
def safe():
    read_safely()
    yield
    read_safely()


def history(*values):
    kept = HistoryBuffer()
    for value in values:
        kept.update(value)
    return kept


@pytest.mark.usefixtures('safe')
@pytest.mark.parametrize('zipped', [True, False])
def test_what_a_training_goes_on_from_is_read_in_full(tmp_path, zipped):
    weights = OrderedDict({'0.weight': torch.randn(2, 3), '0.bias': torch.randn(2)})
    arrays = {
        'double': np.arange(6.0).reshape(2, 3),
        'columns': np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        'turned': np.arange(3, dtype='>f4'),
        'flags': np.array([True, False]),
        'names': np.array(['a', 'bc']),
        'none': np.zeros((0, 4), np.float32),
    }
    saved = {
        'state_dict': weights,
        'meta': {'epoch': 3, 'classes': ('a', 'b'), 'dataset_meta': arrays},
        'message_hub': {
            'log_scalars': OrderedDict(loss=history(0.5, 0.25), lr=history(0.1)),
            'runtime_info': OrderedDict(best=np.float64(0.75), count=np.int64(7)),
            'resumed_keys': OrderedDict(loss=True),
        },
        'optimizer': {'state': {0: {'momentum_buffer': torch.ones(2)}}, 'param_groups': [{}]},
        'param_schedulers': [{'milestones': Counter({8: 1, 11: 2}), 'gamma': 0.1}],
        'settings': ConfigDict(a=dict(b=[1, (2, 3)])),
    }
    path = tmp_path / 'checkpoint.pth'
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    found = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    assert found.keys() == saved.keys()
    for name, value in weights.items():
        assert torch.equal(found['state_dict'][name], value)
    for name, value in arrays.items():
        read = found['meta']['dataset_meta'][name]
        assert type(read) is np.ndarray
        assert read.dtype == value.dtype
        np.testing.assert_array_equal(read, value)
    hub = found['message_hub']
    loss = hub['log_scalars']['loss']
    assert type(loss) is HistoryBuffer
    assert loss.data[0].tolist() == [0.5, 0.25]
    loss.update(0.75)
    assert (loss.current(), loss.mean()) == (0.75, 0.5)
    assert (hub['runtime_info']['best'], hub['runtime_info']['count']) == (0.75, 7)
    milestones = found['param_schedulers'][0]['milestones']
    assert (type(milestones), milestones) == (Counter, Counter({8: 1, 11: 2}))
    assert found['settings'] == {'a': {'b': [1, (2, 3)]}}
    assert found['meta']['epoch'] == 3
    pickle.dumps(found)  # nothing that stands for another object is left


@pytest.mark.usefixtures('safe')
@pytest.mark.parametrize('zipped', [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path, zipped):
    marker, path = tmp_path / 'marker', tmp_path / 'payload.pth'
    saved = {'state_dict': {'weight': torch.ones(1)}, 'meta': Payload(marker)}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadFileError, match='payload.pth cannot be read safely.*--trust-checkpoint'):
        CheckpointLoader.load_checkpoint(str(path))
    assert not marker.exists()


@pytest.mark.usefixtures('safe')
def test_what_a_file_reaches_by_getattr_is_not_there(tmp_path):
    """mmengine's list allows ``getattr(getattr, '__self__').eval``."""
    path = tmp_path / 'reach.pth'
    torch.save({'state_dict': {'weight': torch.ones(1)}, 'meta': Reach()}, path)
    found = CheckpointLoader.load_checkpoint(str(path))
    assert not isinstance(found['meta'], type(eval))
    assert 'eval' not in repr(found['meta'])


@pytest.mark.usefixtures('safe')
def test_downloaded_checkpoints_are_read_alike_and_kept(tmp_path, monkeypatch):
    asked = []

    def download(url, path, **_):
        asked.append(url)
        content = Payload(tmp_path / 'marker') if 'payload' in url else None
        torch.save({'state_dict': {'weight': torch.ones(2)}, 'meta': content}, path)

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    for _ in range(2):
        found = CheckpointLoader.load_checkpoint('https://example.org/a/weights-1.pth?x=1')
        assert found['state_dict']['weight'].tolist() == [1, 1]
    assert (tmp_path / 'hub' / 'checkpoints' / 'weights-1.pth').is_file()
    with pytest.raises(BadFileError, match='payload.pth cannot be read safely'):
        CheckpointLoader.load_checkpoint('https://example.org/payload.pth')
    assert not (tmp_path / 'marker').exists()
    assert len(asked) == 2


@pytest.mark.usefixtures('safe')
def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / 'objects.pth'
    torch.save({'state_dict': {'a': torch.ones(1)}, 'x': np.array([{}, []], object)}, path)
    with pytest.raises(BadFileError, match='objects.pth holds an array of the type O.*--trust'):
        CheckpointLoader.load_checkpoint(str(path))


@pytest.mark.usefixtures('safe')
@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: {'state_dict': state},
        lambda state: {'model': state, 'epoch': 3},
        lambda state: {f'module.{key}': value for key, value in state.items()},
        lambda state: {f'_orig_mod.{key}': value for key, value in state.items()},
        lambda state: {
            'pytorch-lightning_version': '2.0',
            'state_dict': {f'net.{key}': value for key, value in state.items()},
        },
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.ckpt'])
def test_weights_of_any_trainer_are_loaded(tmp_path, wrap, suffix):
    torch.manual_seed(0)
    saved, model = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)) for _ in range(2))
    nn.init.normal_(saved[1].running_mean)
    path = tmp_path / f'weights{suffix}'
    torch.save(wrap(saved.state_dict()), path)
    load_checkpoint(model, str(path))
    for name, value in saved.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize('option', ['load_from', 'model.init_cfg.checkpoint'])
def test_training_runs_no_code_of_a_checkpoint_unless_it_is_trusted(plain, tmp_path, option):
    config, state = plain
    marker, path = tmp_path / 'marker', tmp_path / 'payload.pth'
    torch.save({'state_dict': state, 'meta': Payload(marker)}, path)
    options = ['train_cfg.max_epochs=0', f'{option}={path}']
    if option != 'load_from':
        options.append('model.init_cfg.type=Pretrained')
    arguments = [config, '--work-dir', tmp_path / 'run', '--cfg-options', *options]
    done = call_tool('train.py', *arguments)
    assert done.code == 1
    last = done.text.splitlines()[-1]
    assert last.startswith(f'train: {path} cannot be read safely: it holds posix.mkdir')
    assert 'pass --trust-checkpoint' in last
    assert not marker.exists()
    done = call_tool('train.py', '--trust-checkpoint', *arguments)
    assert done.code == 0, done.text[-2000:]
    assert marker.is_dir()


def test_testing_runs_no_code_of_a_checkpoint(plain, tmp_path):
    config, state = plain
    marker, path = tmp_path / 'marker', tmp_path / 'payload.pth'
    torch.save({'state_dict': state, 'meta': Payload(marker)}, path)
    done = call_tool('test.py', config, path, '--work-dir', tmp_path / 'run')
    assert done.code == 1
    assert done.text.splitlines()[-1].startswith(f'test: {path} cannot be read safely')
    assert not marker.exists()


def test_testing_refuses_the_checkpoint_of_another_network(plain, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'model': nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict()}, path)
    done = call_tool('test.py', plain[0], path, '--work-dir', tmp_path / 'run')
    assert done.code == 1
    last = done.text.splitlines()[-1]
    assert last.startswith(f'test: {path}: none of its weights is of this network: it has 0.weight')


def test_testing_takes_prefixes_away_that_the_network_tells_of(plain, tmp_path):
    config, state = plain
    results = []
    for prefix in ('', 'net.'):
        path = tmp_path / f'weights{prefix}.pt'
        torch.save({'model': {f'{prefix}{key}': value for key, value in state.items()}}, path)
        out = tmp_path / f'out{prefix}.pkl'
        done = call_tool('test.py', config, path, '--work-dir', tmp_path / 'run', '--out', out)
        assert done.code == 0, done.text[-2000:]
        results.append([item['pred_instances'] for item in pickle.loads(out.read_bytes())])
    for first, second in zip(*results):
        assert torch.equal(first['bboxes'], second['bboxes'])
        assert torch.equal(first['scores'], second['scores'])
