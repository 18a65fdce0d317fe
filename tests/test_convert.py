"""Published checkpoints: built here from what is known of their form, evaluated by hand."""

import json
import re

import pytest
import torch
from helpers import call_tool
from torch import nn
from torch.nn import functional as F

from mmic.convert import (
    NonzeroBlocksError,
    convert_doconv,
    convert_ic,
    convert_psconv,
    psconv_layer,
)
from mmic.files import BadFileError
from mmic.layers import DOConv2d, ICConv2d, PSConv2d
from mmic.models.inception import to_searched
from mmic.pattern import PatternError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def assert_close(first, second):
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


# IC-Conv

ENTRIES = [
    {'(0, 0)': 5, '(0, 1)': 2, '(0, 2)': 0, '(2, 0)': 1, '(1, 2)': 4},
    {'(0, 0)': 0, '(1, 0)': 3, '(2, 2)': 3},
]


def published_ic(entry, in_channels, prefix=''):
    counts = [count for count in entry.values() if count]
    return {
        f'{prefix}conv_list.{n}.weight': random(count, in_channels, 3, 3)
        for n, count in enumerate(counts)
    }


def evaluate_ic(state, entry, x, stride, prefix=''):
    outputs, number = [], 0
    for key, count in entry.items():
        if count:
            h, w = (int(part) + 1 for part in key.strip('()').split(','))
            weight = state[f'{prefix}conv_list.{number}.weight']
            outputs.append(F.conv2d(x, weight, None, stride, (h, w), (h, w)))
            number += 1
    return torch.cat(outputs, 1)


@pytest.fixture
def pattern_file(tmp_path):
    path = tmp_path / 'published.json'
    path.write_text(json.dumps(ENTRIES))
    return path


@pytest.fixture
def ic_state():
    """Two layers with a norm between them."""
    state = {'stem.weight': random(8, 3, 1, 1), **published_ic(ENTRIES[0], 8, 'conv1.')}
    state.update({'bn1.weight': random(12), **published_ic(ENTRIES[1], 12, 'layer2.0.conv2.')})
    return state


def test_ic_layers_compute_what_the_published_ones_do(ic_state, pattern_file):
    converted = convert_ic(ic_state, pattern_file)
    expected = ['stem.weight', 'conv1.weight', 'conv1.dilations', 'bn1.weight']
    expected += ['layer2.0.conv2.weight', 'layer2.0.conv2.dilations']
    assert list(converted) == expected
    assert torch.equal(converted['bn1.weight'], ic_state['bn1.weight'])
    layers = (('conv1.', 8, 12, 2), ('layer2.0.conv2.', 12, 6, 1))
    for (prefix, c_in, c_out, stride), entry in zip(layers, ENTRIES):
        own = {k[len(prefix) :]: v for k, v in converted.items() if k.startswith(prefix)}
        layer = ICConv2d(
            c_in, c_out, 3, stride, 1, bias=False, dilations=own['dilations'].tolist()
        ).double()
        layer.load_state_dict(own)
        x = random(2, c_in, 17, 14)
        assert_close(layer(x), evaluate_ic(ic_state, entry, x, stride, prefix))


def test_ic_layer_alone_and_with_bias(pattern_file):
    pattern_file.write_text(json.dumps(ENTRIES[:1]))
    state = published_ic(ENTRIES[0], 8)
    state.update({key.replace('weight', 'bias'): random(len(v)) for key, v in state.items()})
    converted = convert_ic(state, pattern_file)
    assert list(converted) == ['weight', 'bias', 'dilations']
    assert converted['bias'].tolist() == torch.cat([*state.values()][4:]).tolist()


def test_ic_pattern_of_another_network_is_refused(ic_state, pattern_file):
    pattern_file.write_text(json.dumps(ENTRIES[:1]))
    with pytest.raises(PatternError, match=r'1 entries for a network of 2 searched'):
        convert_ic(ic_state, pattern_file)
    pattern_file.write_text(json.dumps([ENTRIES[0], {'(0, 0)': 2, '(1, 0)': 4}]))
    with pytest.raises(BadFileError, match=r"'layer2\.0\.conv2': .*\[3, 3\].*\[2, 4\]"):
        convert_ic(ic_state, pattern_file)


def test_ic_layer_with_a_number_missing_is_refused(ic_state, pattern_file):
    del ic_state['conv1.conv_list.1.weight']
    with pytest.raises(BadFileError, match=r"'conv1': conv_list has weights \[0, 2, 3\] only"):
        convert_ic(ic_state, pattern_file)


def test_ic_kernels_of_two_shapes_are_refused(ic_state, pattern_file):
    ic_state['conv1.conv_list.1.weight'] = random(2, 8, 5, 5)
    with pytest.raises(BadFileError, match=r"'conv1': conv_list holds kernels of shapes .*5, 5"):
        convert_ic(ic_state, pattern_file)


def test_ic_layer_with_groups_outside_of_a_bottleneck_is_refused(ic_state, pattern_file):
    ic_state['layer2.0.conv1.weight'] = random(24, 3, 1, 1)
    with pytest.raises(BadFileError, match=r"'layer2\.0\.conv2': .*12 of the 24 .*groups are not"):
        convert_ic(ic_state, pattern_file)


# Channels of each dilation over all of 4 groups.
GROUPED = {'(0, 0)': 8, '(0, 1)': 0, '(3, 1)': 4, '(1, 2)': 12}


class PublishedGrouped(nn.Module):
    """The authors' layer: a grouped convolution a dilation, outputs side by side."""

    def __init__(self, entry, channels, groups, stride):
        super().__init__()
        pairs = {key: tuple(int(n) + 1 for n in re.findall(r'\d+', key)) for key in entry}
        self.conv_list = nn.ModuleList(
            nn.Conv2d(
                *(channels, count, 3, stride, pairs[key], pairs[key], groups),
                bias=False,
            )
            for key, count in entry.items()
            if count
        )

    def forward(self, x):
        return torch.cat([conv(x) for conv in self.conv_list], 1)


def resnext_block(conv2, width=24, channels=16):
    """A bottleneck without its skip connection, norms randomised, in float64 and eval mode."""
    block = nn.Sequential()
    block.add_module('conv1', nn.Conv2d(channels, width, 1, bias=False))
    block.add_module('bn1', nn.BatchNorm2d(width))
    block.add_module('conv2', conv2)
    block.add_module('bn2', nn.BatchNorm2d(width))
    block.add_module('relu', nn.ReLU())
    block.add_module('conv3', nn.Conv2d(width, channels, 1, bias=False))
    for norm in (block.bn1, block.bn2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return block.double().eval()


@pytest.mark.parametrize('stride', [1, 2])
def test_ic_layers_with_groups_are_put_in_group_major_order(stride, tmp_path):
    theirs = resnext_block(PublishedGrouped(GROUPED, 24, 4, stride))
    path = tmp_path / 'published.json'
    path.write_text(json.dumps([GROUPED]))
    converted = convert_ic({f'layer1.0.{k}': v for k, v in theirs.state_dict().items()}, path)
    own = {key[len('layer1.0.') :]: value for key, value in converted.items()}
    # Of the 6 channels of each group 2, 1 and 3 have these dilations.
    dilations = ([[1, 1]] * 2 + [[4, 2]] + [[2, 3]] * 3) * 4
    assert own['conv2.dilations'].tolist() == dilations
    # As a network is built with the published file.
    plain = resnext_block(nn.Conv2d(24, 24, 3, stride, 1, groups=4, bias=False))
    ours = to_searched(plain, path)
    assert ours.conv2.dilations.tolist() == dilations
    ours.load_state_dict(own)
    x = random(2, 16, 17, 14)
    with torch.no_grad():
        assert_close(ours(x), theirs(x))
        assert_close(ours[:2](x), theirs[:2](x))
        assert (ours[:4](x) - theirs[:4](x)).abs().max() > 0.1  # the order differs between


def test_ic_counts_that_groups_do_not_divide_are_refused(tmp_path):
    state = resnext_block(PublishedGrouped(GROUPED, 24, 4, 1)).state_dict()
    path = tmp_path / 'published.json'
    path.write_text(json.dumps([{'(0, 0)': 10, '(3, 1)': 4, '(1, 2)': 10}]))
    told = r"published\.json: layer 'conv2': '\(0, 0\)' has 10 channels, .* 4 groups do not"
    with pytest.raises(PatternError, match=told):
        convert_ic(state, path)


# PSConv


def published_ps(in_channels, out_channels, groups=1, prefix=''):
    depth, quarter, rows = in_channels // groups, in_channels // groups // 4, out_channels // groups
    conv = random(out_channels, depth, 3, 3)
    for group in range(groups):
        for i in range(4):
            for o in (i, (i + 2) % 4):
                first = group * rows + o * rows // 4
                conv[first : first + rows // 4, i * quarter : (i + 1) * quarter] = 0
    return {
        f'{prefix}conv.weight': conv,
        f'{prefix}gwconv.weight': random(out_channels, quarter, 3, 3),
        f'{prefix}gwconv_shift.weight': random(out_channels, quarter, 3, 3),
    }


def evaluate_ps(state, x, stride=1, groups=1, prefix=''):
    halves = [part.chunk(2, 1) for part in x.chunk(groups, 1)]
    swapped = torch.cat([half for first, second in halves for half in (second, first)], 1)
    total = F.conv2d(x, state[f'{prefix}conv.weight'], None, stride, 1, 1, groups)
    four = 4 * groups
    total = total + F.conv2d(x, state[f'{prefix}gwconv.weight'], None, stride, 2, 2, four)
    weight = state[f'{prefix}gwconv_shift.weight']
    return total + F.conv2d(swapped, weight, None, stride, 4, 4, four)


@pytest.mark.parametrize(
    ('c_in', 'c_out', 'groups'), [(16, 32, 1), (4, 4, 1), (16, 32, 2), (32, 16, 4)]
)
@pytest.mark.parametrize('stride', [1, 2])
def test_ps_layer_is_the_published_one_on_permuted_channels(c_in, c_out, groups, stride):
    state = published_ps(c_in, c_out, groups)
    tensors, inputs, outputs = psconv_layer(state, groups)
    layer = PSConv2d(c_in, c_out, 3, stride, 1, groups=groups, bias=False).double()
    layer.load_state_dict(tensors)
    x = random(2, c_in, 15, 13)
    assert_close(layer(x[:, inputs]), evaluate_ps(state, x, stride, groups)[:, outputs])
    # Permutations, so that the layer also stands in the published one's place.
    back = outputs.argsort()
    assert_close(layer(x[:, inputs])[:, back], evaluate_ps(state, x, stride, groups))
    assert sorted(inputs.tolist()) == list(range(c_in))


class Bottleneck(nn.Module):
    """As in every ResNet, around a conv2 of mmic."""

    def __init__(self, channels, groups, stride, pattern=(1, 2, 1, 4)):
        super().__init__()
        wide = 2 * channels
        self.conv1 = nn.Conv2d(wide, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = PSConv2d(
            channels, channels, 3, stride, 1, groups=groups, bias=False, pattern=pattern
        )
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(wide, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        same = self.downsample(x) if hasattr(self, 'downsample') else x
        return (self.bn3(self.conv3(out)) + same).relu()


def published_network(channels, groups):
    """State dict of two bottlenecks and a classifier, their norms randomised."""
    network = nn.Sequential(
        nn.Conv2d(3, 2 * channels, 3, bias=False),
        Bottleneck(channels, groups, 2),
        Bottleneck(channels, groups, 1),
    ).double()
    state = {}
    for key, value in network.state_dict().items():
        name, _, last = key.rpartition('.')
        if name.endswith('conv2'):
            if last == 'weight':
                state.update(published_ps(channels, channels, groups, f'{name}.'))
        elif last == 'running_var':
            state[key] = torch.rand_like(value) + 0.5
        elif value.is_floating_point():
            state[key] = torch.randn_like(value)
        else:
            state[key] = value
    return network, state


def evaluate_network(state, x, groups):
    """Two bottlenecks by functions alone."""

    def norm(out, name):
        mean, var = state[f'{name}.running_mean'], state[f'{name}.running_var']
        return F.batch_norm(out, mean, var, state[f'{name}.weight'], state[f'{name}.bias'])

    x = F.conv2d(x, state['0.weight'])
    for block, stride in (('1', 2), ('2', 1)):
        out = norm(F.conv2d(x, state[f'{block}.conv1.weight']), f'{block}.bn1').relu()
        out = evaluate_ps(state, out, stride, groups, f'{block}.conv2.')
        out = norm(out, f'{block}.bn2').relu()
        out = norm(F.conv2d(out, state[f'{block}.conv3.weight']), f'{block}.bn3')
        if stride > 1:
            weight = state[f'{block}.downsample.0.weight']
            x = norm(F.conv2d(x, weight, None, stride), f'{block}.downsample.1')
        x = (out + x).relu()
    return x


@pytest.mark.parametrize('groups', [1, 4])
def test_ps_bottlenecks_absorb_the_permutation(groups):
    network, state = published_network(32, groups)
    before = {key: value.clone() for key, value in state.items()}
    converted = convert_psconv(state)
    assert list(converted) == list(network.state_dict())
    network.load_state_dict(converted)
    x = random(2, 3, 23, 19)
    network.eval()
    assert_close(network(x), evaluate_network(state, x, groups))
    assert all(torch.equal(value, before[key]) for key, value in state.items())
    # What the output side of the block sees stays in place.
    for key in ('0.weight', '1.bn3.weight', '1.downsample.0.weight'):
        assert torch.equal(converted[key], state[key])


def test_ps_network_has_the_keys_of_the_backbone():
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    from mmic.models import PSResNet

    backbone = PSResNet(50, base_channels=8)
    state = {}
    for key, value in backbone.state_dict().items():
        name, _, last = key.rpartition('.')
        if not name.endswith('conv2') or 'stem' in name:
            state[key] = value
        elif last == 'weight':
            state.update(published_ps(value.shape[1], len(value), prefix=f'{name}.'))
    backbone.load_state_dict(convert_psconv(state))


def test_ps_blocks_that_are_not_zero_are_refused_or_dropped():
    network, state = published_network(16, 1)
    clean = {key: value.clone() for key, value in state.items()}
    state['2.conv2.conv.weight'][0, 0, 1, 1] = -0.75  # block 0 -> 0
    state['2.conv2.conv.weight'][8, 1, 0, 2] = 0.5  # block 0 -> 2
    with pytest.raises(NonzeroBlocksError, match=r"1 layers: '2\.conv2' up to 0\.75.*--drop"):
        convert_psconv(state)
    network.load_state_dict(convert_psconv(state, drop_nonzero=True))
    network.eval()
    x = random(1, 3, 15, 15)
    assert_close(network(x), evaluate_network(clean, x, 1))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('1.conv3.weight'), r"'1\.conv2': .*only a bottleneck can absorb"),
        (lambda s: s.update({'1.context.weight': random(4)}), r"'1\.conv2': .*'context'"),
        (lambda s: s.update({'1.conv3.weight': random(32, 16, 3, 3)}), r"'1\.conv2': .*bottlen"),
        (lambda s: s.update({'1.bn2.bias': random(8)}), r"'1\.bn2\.bias': shape \(8,\) .* 16 "),
        (lambda s: s.pop('1.conv2.gwconv.weight'), r"'1\.conv2': gwconv\.weight is missing"),
        (
            lambda s: s.update({'1.conv2.gwconv.weight': random(16, 8, 3, 3)}),
            r"'1\.conv2': gwconv is \(16, 8, 3, 3\) .* asks for \(16, 4, 3, 3\)",
        ),
        (
            lambda s: s.update({'1.conv2.conv.weight': random(16, 2, 3, 3)}),
            r"'1\.conv2': .* 2 input channels .* 4 blocks",
        ),
        (
            lambda s: s.update({'1.conv2.conv.weight': random(16, 12, 3, 3)}),
            r"'1\.conv2': its kernels read 12 channels, which do not divide the 16",
        ),
    ],
)
def test_ps_layers_that_do_not_fit_are_refused_by_name(change, message):
    _, state = published_network(16, 1)
    change(state)
    with pytest.raises(BadFileError, match=message):
        convert_psconv(state)


# DO-Conv


def published_do(in_channels, out_channels, groups=1, d_mul=9, taps=9, prefix=''):
    eye = torch.eye(taps, dtype=torch.float64)
    blocks = [eye] * (d_mul // taps) + [torch.zeros(taps, d_mul % taps, dtype=torch.float64)]
    return {
        f'{prefix}W': random(out_channels, in_channels // groups, d_mul),
        f'{prefix}D': random(in_channels, taps, d_mul),
        f'{prefix}d_diag': torch.cat(blocks, 1).repeat(in_channels, 1, 1),
    }


def evaluate_do(state, x, groups, side):
    d, w = state['D'] + state['d_diag'], state['W']
    paired = w.reshape(len(w) // groups, len(d), w.shape[2])
    kernel = torch.einsum('ims,ois->oim', d, paired)
    return F.conv2d(x, kernel.reshape(*w.shape[:2], side, side), padding=1, groups=groups)


DO_SHAPES = [(1, 9, 3), (1, 11, 3), (1, 36, 3), (1, 25, 5), (2, 9, 3), (2, 11, 3), (8, 9, 3)]


@pytest.mark.parametrize('fold', [False, True])
@pytest.mark.parametrize(('groups', 'd_mul', 'side'), DO_SHAPES)
def test_do_layer_computes_what_the_published_one_does(groups, d_mul, side, fold):
    state = published_do(8, 16, groups, d_mul, side * side)
    converted = convert_doconv(state, fold)
    arguments = {'padding': 1, 'groups': groups, 'bias': False, 'dtype': torch.float64}
    x = random(2, 8, 11, 9)
    expected = evaluate_do(state, x, groups, side)
    if groups > 1 or fold:
        assert list(converted) == ['weight']
        plain = nn.Conv2d(8, 16, side, **arguments)
        plain.load_state_dict(converted)
        assert_close(plain(x), expected)
    else:
        assert list(converted) == ['weight', 'depthwise']
    if 'depthwise' in converted or d_mul == side * side:
        d_mul = d_mul if 'depthwise' in converted else None
        layer = DOConv2d(8, 16, side, **arguments, d_mul=d_mul)
        layer.load_state_dict(converted)
        assert_close(layer(x), expected)


def test_do_network_keeps_what_is_not_its_own():
    state = {'stem.weight': random(4, 3, 3, 3), **published_do(4, 8, prefix='layer1.conv2.')}
    state.update({'layer1.conv2.bias': random(8), 'layer1.conv3.W': random(8, 8, 1)})
    converted = convert_doconv(state)
    shapes = {key: tuple(value.shape) for key, value in converted.items()}
    assert shapes == {
        'stem.weight': (4, 3, 3, 3),
        'layer1.conv2.weight': (8, 4, 3, 3),
        'layer1.conv2.depthwise': (9, 9, 4),
        'layer1.conv2.bias': (8,),
        'layer1.conv3.weight': (8, 8, 1, 1),
    }
    assert torch.equal(converted['layer1.conv3.weight'][..., 0], state['layer1.conv3.W'])


def test_do_folding_takes_any_diagonal_and_keeps_the_dtype():
    state = {key: value.float() for key, value in published_do(4, 8).items()}
    state['d_diag'] *= 2
    with pytest.raises(BadFileError, match=r"layer '': d_diag is not the identity.*--fold"):
        convert_doconv(state)
    converted = convert_doconv(state, fold=True)
    assert converted['weight'].dtype == torch.float32
    x = torch.randn(1, 4, 7, 7)
    torch.testing.assert_close(
        F.conv2d(x, converted['weight'], padding=1),
        evaluate_do(state, x, 1, 3),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'D': random(4, 9, 11)}, r'D is \(4, 9, 11\) and d_diag \(4, 9, 9\)'),
        ({'W': random(8, 4, 11)}, r'D_mul is 11 in W \(8, 4, 11\) .* D \(4, 9, 9\)'),
        ({'W': random(8, 4, 3, 3)}, r'W has shape \(8, 4, 3, 3\), not three axes'),
        ({'W': random(8, 3, 9)}, r'fit no convolution'),
        ({'W': random(7, 2, 9)}, r'fit no convolution'),
        ({'W': None}, r'W is missing'),
        ({'d_diag': None}, r'D is \(4, 9, 9\) and d_diag None'),
        ({'W': random(8, 4, 9), 'D': random(4, 10, 9), 'd_diag': random(4, 10, 9)}, r'fit no'),
        ({'W': random(8, 4, 4), 'D': random(4, 9, 4), 'd_diag': random(4, 9, 4)}, r'is 4, less'),
    ],
)
def test_do_layers_that_do_not_fit_are_refused_by_name(change, message):
    state = published_do(4, 8, prefix='a.conv2.')
    for key, value in change.items():
        state[f'a.conv2.{key}'] = value
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(BadFileError, match=rf"'a\.conv2': .*{message}|'a\.conv2': {message}"):
        convert_doconv(state)


def test_do_layer_without_d_is_refused():
    state = {**published_do(4, 8), 'b.W': random(8, 4, 9)}
    with pytest.raises(BadFileError, match=r"'b': D and d_diag are missing, W has D_mul 9"):
        convert_doconv(state)


# Every kind


def a_file_of(kind):
    if kind == 'ic':
        return published_ic(ENTRIES[0], 8, 'layer1.0.conv2.')
    if kind == 'psconv':
        return published_network(16, 1)[1]
    if kind == 'doconv':
        return published_do(4, 8, prefix='conv1.')
    if kind == 'plain':
        return {'fc.bias': random(4), 'layer1.0.conv2.weight': random(8, 8, 3, 3)}
    if kind == 'mmic':
        return DOConv2d(4, 8, 3).state_dict()
    return {'fc.bias': random(4)}


LOOKS = {
    'ic': r"looks like one of IC-Conv \(kind ic\): 1 such layers, 'layer1\.0\.conv2'",
    'psconv': r"looks like one of PSConv \(kind psconv\): 2 such layers, '1\.conv2'",
    'doconv': r"looks like one of DO-Conv \(kind doconv\): 1 such layers, 'conv1'",
    'plain': r"looks like a plain network's: 'layer1\.0\.conv2\.weight' is \(8, 8, 3, 3\)",
    'mmic': r"looks like a checkpoint of mmic, which needs no conversion: 'depthwise'",
    'other': r"its first key is 'fc\.bias'",
}


@pytest.mark.parametrize('looks', LOOKS)
@pytest.mark.parametrize('kind', ['ic', 'psconv', 'doconv'])
def test_wrong_kind_is_refused_with_what_the_file_looks_like(kind, looks, pattern_file):
    converters = {
        'ic': lambda state: convert_ic(state, pattern_file),
        'psconv': convert_psconv,
        'doconv': convert_doconv,
    }
    if kind != looks:
        with pytest.raises(BadFileError, match=r'no layer has the form .*' + LOOKS[looks]):
            converters[kind](a_file_of(looks))


# tools/convert_checkpoint.py


def save(state, path, **more):
    torch.save({'state_dict': {f'module.{k}': v for k, v in state.items()}, **more}, path)
    return path


def test_command_converts_each_kind(tmp_path, pattern_file):
    pattern_file.write_text(json.dumps(ENTRIES[:1]))
    for kind, more in (('ic', ['--pattern', pattern_file]), ('psconv', []), ('doconv', ['--fold'])):
        state, out = a_file_of(kind), tmp_path / f'{kind}_out.pth'
        path = save(state, tmp_path / f'{kind}.pth', meta={'CLASSES': ('a', 'b'), 'x': 1})
        before = path.read_bytes()
        done = call_tool('convert_checkpoint.py', kind, path, '--out', out, *more)
        assert done.code == 0, done.text
        assert f'Wrote {out}' in done.text
        written = torch.load(out, weights_only=True)
        expected = {
            'ic': lambda state: convert_ic(state, pattern_file),
            'psconv': convert_psconv,
            'doconv': lambda state: convert_doconv(state, fold=True),
        }[kind](state)
        assert list(written['state_dict']) == list(expected)
        assert all(torch.equal(written['state_dict'][key], expected[key]) for key in expected)
        assert written['meta'] == {'CLASSES': ('a', 'b'), 'converted_from': str(path)}
        assert path.read_bytes() == before
        again = call_tool('convert_checkpoint.py', kind, path, '--out', out, *more)
        assert again.code == 1
        assert 'pass --overwrite' in again.text
        more.append('--overwrite')
        assert call_tool('convert_checkpoint.py', kind, path, '--out', out, *more).code == 0


def test_command_drops_values_only_when_told_to(tmp_path):
    _, state = published_network(16, 1)
    state['1.conv2.conv.weight'][0, 0] = 0.25
    path, out = save(state, tmp_path / 'ps.pth'), tmp_path / 'out.pth'
    done = call_tool('convert_checkpoint.py', 'psconv', path, '--out', out)
    assert done.code == 1
    assert f'convert_checkpoint: {path}: some blocks of conv' in done.text
    assert "'1.conv2' up to 0.25" in done.text
    assert not out.exists()
    done = call_tool('convert_checkpoint.py', 'psconv', path, '--out', out, '--drop-nonzero')
    assert done.code == 0, done.text
    assert 'Dropped from 1.conv2: blocks meant to be zero, values up to 0.25' in done.text
    assert out.exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['ic'], '--pattern belongs to ic'),
        (['psconv', '--pattern', 'x.json'], '--pattern belongs to ic'),
        (['doconv', '--drop-nonzero'], '--drop-nonzero belongs to psconv'),
        (['psconv', '--fold'], '--fold belongs to doconv'),
        (['nats'], 'invalid choice'),
    ],
)
def test_command_refuses_options_of_another_kind(arguments, message, tmp_path):
    kind, *rest = arguments
    done = call_tool('convert_checkpoint.py', kind, 'x.pth', '--out', tmp_path / 'o.pth', *rest)
    assert done.code == 2
    assert message in done.text


def test_command_refuses_a_file_of_another_kind(tmp_path):
    path, out = save(a_file_of('doconv'), tmp_path / 'do.pth'), tmp_path / 'out.pth'
    done = call_tool('convert_checkpoint.py', 'psconv', path, '--out', out)
    assert done.code == 1
    assert f'convert_checkpoint: {path}: no layer has the form of a published PSConv' in done.text
    assert not out.exists()
