"""Checkpoints as trainers save them: what is read, what is taken, what is refused."""

import argparse
import os
import re
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mmic.checkpoint import read_checkpoint, read_state_dict, state_dict_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


class Named(nn.Module):
    """A network whose own parts are called as wrappers are."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3))
        self.module = nn.Linear(4, 2)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def notes(monkeypatch):
    """What is told beside the result."""
    told = []
    monkeypatch.setattr('mmic.checkpoint.print_log', lambda text, **_: told.append(text))
    return told


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def inside(part, state):
    """Names as of a network whose ``backbone`` was wrapped alone."""
    return {name.replace('backbone.', f'backbone.{part}.'): value for name, value in state.items()}


LIGHTNING = {'epoch': 3, 'pytorch-lightning_version': '2.4.0'}
CONTAINERS = {
    'state dict': lambda state: state,
    'mmengine': lambda state: {'meta': {'epoch': 3}, 'state_dict': state},
    'mmengine with EMA': lambda state: {
        'state_dict': state,
        'ema_state_dict': {'steps': torch.tensor(3), **under('module.', state)},
    },
    'model': lambda state: {'model': state, 'epoch': 3, 'optimizer': {'state': {}}},
    'model and arguments': lambda state: {'model': state, 'args': argparse.Namespace(lr=0.1)},
    'model_state_dict': lambda state: {'model_state_dict': state, 'loss': torch.tensor(0.5)},
    'only averaged': lambda state: {'model': None, 'ema': state},
    'DDP': lambda state: under('module.', state),
    'DDP in a dict': lambda state: {'model': under('module.', state)},
    'compiled': lambda state: under('_orig_mod.', state),
    'DDP of a compiled one': lambda state: under('module._orig_mod.', state),
    'compiled DDP': lambda state: under('_orig_mod.module.', state),
    'a compiled part': lambda state: inside('_orig_mod', state),
    'FSDP': lambda state: inside('_fsdp_wrapped_module', state),
    'AveragedModel': lambda state: {'n_averaged': torch.tensor(7), **under('module.', state)},
    'Lightning': lambda state: {**LIGHTNING, 'state_dict': under('model.', state)},
    'Lightning, net': lambda state: {**LIGHTNING, 'state_dict': under('net.', state)},
    'Lightning, compiled': lambda state: {
        **LIGHTNING,
        'state_dict': under('model._orig_mod.', state),
    },
}


@pytest.mark.parametrize('container', CONTAINERS)
@pytest.mark.parametrize('suffix', ['pth', 'pt', 'ckpt'])
def test_names_are_the_networks(tmp_path, container, suffix):
    net, path = Net(), tmp_path / f'saved.{suffix}'
    torch.save(CONTAINERS[container](net.state_dict()), path)
    state = read_state_dict(path, net)
    assert state.keys() - {'n_averaged'} == net.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize('container', [name for name in CONTAINERS if 'model' not in name])
def test_prefixes_of_wrappers_are_known_without_a_network(tmp_path, container):
    net = Net()
    state = state_dict_of(CONTAINERS[container](net.state_dict()), 'x.pth')
    assert state.keys() - {'n_averaged'} == net.state_dict().keys()


def test_wrappers_of_torch_give_the_networks_names():
    net = Net()
    for wrap in (nn.DataParallel, torch.compile, AveragedModel):
        state = state_dict_of(wrap(net).state_dict(), 'x.pth', net)
        assert state.keys() == net.state_dict().keys(), wrap


def test_names_of_the_networks_own_are_kept():
    """Whether ``model.`` is a prefix is asked of the network, not of the word."""
    net = Named()
    for wrapped in (net.state_dict(), under('module.', net.state_dict())):
        assert state_dict_of(wrapped, 'x.pth', net).keys() == net.state_dict().keys()
    only = nn.Module()
    only.module = nn.Linear(4, 2)
    assert state_dict_of(only.state_dict(), 'x.pth', only).keys() == only.state_dict().keys()


def test_lightning_names_its_attribute_as_it_likes_and_has_others(notes):
    net = Net()
    state = {**under('detector.', net.state_dict()), 'criterion.weight': torch.ones(2)}
    found = state_dict_of({**LIGHTNING, 'state_dict': state}, 'x.ckpt', net)
    assert found.keys() == net.state_dict().keys()
    assert notes == ['x.ckpt: 1 tensors outside of detector.* are left, criterion.weight first.']


def test_a_tensor_too_many_is_kept_for_the_strict_check():
    net = Net()
    state = {**under('model.', net.state_dict()), 'other.weight': torch.ones(2)}
    assert state_dict_of(state, 'x.pth', net).keys() == {*net.state_dict(), 'other.weight'}


@pytest.mark.parametrize(
    ('plain', 'averaged'),
    [('state_dict', 'state_dict_ema'), ('model', 'ema'), ('model', 'model_ema')],
)
def test_which_of_two_was_taken_is_told(notes, plain, averaged):
    first, second = Net(), Net()
    both = {averaged: second.state_dict(), plain: first.state_dict()}
    state = state_dict_of(both, 'x.pth', first)
    assert torch.equal(state['head.weight'], first.head.weight)
    assert f"'{plain}' is taken, the averaged weights under '{averaged}' are not" in notes[0]
    state = state_dict_of({averaged: second.state_dict()}, 'x.pth', first)
    assert torch.equal(state['head.weight'], second.head.weight)
    assert f"the averaged weights, '{averaged}', are taken" in notes[1]


@pytest.mark.parametrize(
    'pack',
    [
        lambda net: net,
        lambda net: {'model': net, 'epoch': 3},
        lambda net: {'model': None, 'ema': net.half()},
        nn.DataParallel,
    ],
)
def test_whole_models_need_trust_and_are_read_with_it(tmp_path, pack):
    path = tmp_path / 'whole.pt'
    torch.save(pack(Net()), path)
    with pytest.raises(ValueError, match=r'whole pickled model, .*\. If you trust .*--trust'):
        read_checkpoint(path)
    net = Net()
    state = read_state_dict(path, net, trust=True)
    net.load_state_dict(state, strict=True)
    assert torch.equal(net.head.weight, state['head.weight'].float())


def test_class_that_is_not_here_is_named(tmp_path, monkeypatch):
    path = tmp_path / 'whole.pth'
    gone = type('Gone', (nn.Module,), {'__module__': __name__, '__qualname__': 'Gone'})
    monkeypatch.setitem(globals(), 'Gone', gone)
    torch.save(gone(), path)
    monkeypatch.delitem(globals(), 'Gone')
    with pytest.raises(ValueError, match=r'class that is not found here .*Gone'):
        read_checkpoint(path, trust=True)


def test_log_history_and_odd_metadata_are_skipped(tmp_path):
    net = Net()
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = {
        'state_dict': OrderedDict(net.state_dict()),
        'message_hub': {'log_scalars': OrderedDict(loss=history)},
        'meta': {'path': tmp_path, 'dataset_meta': {'classes': ('a', 'b')}},
    }
    for old in (False, True):
        path = tmp_path / f'{old}.pth'
        torch.save(content, path, _use_new_zipfile_serialization=not old)
        checkpoint = read_checkpoint(path)
        assert checkpoint['meta']['dataset_meta'] == {'classes': ('a', 'b')}
        assert state_dict_of(checkpoint, path).keys() == net.state_dict().keys()


@pytest.mark.parametrize(
    'value',
    [
        torch.arange(6).view(2, 3).t(),
        torch.randn(3).bfloat16(),
        nn.Parameter(torch.randn(3), requires_grad=False),
        torch.randn(3, dtype=torch.complex64),
        torch.tensor(3),
        torch.randn(0, 2),
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8),
    ],
)
def test_tensors_of_every_kind_are_read(tmp_path, value):
    torch.save({'x': value}, tmp_path / 'x.pth')
    found = read_checkpoint(tmp_path / 'x.pth')['x']
    expected = torch.load(tmp_path / 'x.pth', weights_only=False)['x']
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.requires_grad == expected.requires_grad
    dense = (lambda x: x.dequantize()) if value.is_quantized else (lambda x: x.to_dense())
    assert torch.equal(dense(found.detach()), dense(expected.detach()))


class Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_code_is_not_run(tmp_path):
    marker = tmp_path / 'marker'
    for number, old in enumerate((False, True)):
        path = tmp_path / f'{number}.pth'
        content = {'state_dict': Net().state_dict(), 'meta': Calls(os.mkdir, str(marker))}
        torch.save(content, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=f'cannot be read safely: it holds {os.name}.mkdir'):
            read_checkpoint(path)
        content['meta'] = Calls(exec, f'import os; os.mkdir({str(marker)!r})')
        torch.save(content, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=r'builtins\.exec'):
            read_checkpoint(path)
    assert not marker.exists()


def test_functions_of_torch_are_not_changed(tmp_path):
    # BUILD with a state for slots sets attributes of the object below it on the stack.
    text = b'X\x08\x00\x00\x00__name__X\x07\x00\x00\x00changed'
    pickled = b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}' + text + b's\x86b.'
    torch.save({}, tmp_path / 'x.pth')
    with zipfile.ZipFile(tmp_path / 'x.pth') as source:
        content = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(tmp_path / 'y.pth', 'w') as target:
        for name, data in content.items():
            target.writestr(name, pickled if name.endswith('data.pkl') else data)
    read_checkpoint(tmp_path / 'y.pth')
    assert torch._utils._rebuild_tensor_v2.__name__ == '_rebuild_tensor_v2'


def test_other_files_are_told_by_what_they_are(tmp_path):
    script, tensors = tmp_path / 'script.pt', tmp_path / 'x.safetensors'
    torch.jit.script(nn.Linear(2, 2)).save(str(script))
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    tensors.write_bytes(struct.pack('<Q', len(header)) + header + bytes(4))
    for trust in (False, True):
        with pytest.raises(ValueError, match=f'{script} .*TorchScript.*state_dict'):
            read_checkpoint(script, trust)
        with pytest.raises(ValueError, match=f'{tensors} .*safetensors file'):
            read_checkpoint(tensors, trust)


def test_keys_are_named_where_no_tensors_are():
    with pytest.raises(ValueError, match=re.escape("no tensors. Its keys are 'epoch', 'weights'")):
        state_dict_of({'epoch': 3, 'weights': [1]}, 'x.pth')
