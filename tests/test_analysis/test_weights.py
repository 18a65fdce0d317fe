"""Pictures of weights: the numbers against loops, and that pictures are written."""

import matplotlib.image
import pytest
import torch
from helpers import call_tool
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.analysis.weights import (
    kernel_change,
    layers_of,
    load_layers,
    measure,
    plot_kernel_changes,
    plot_scale_allocation,
    scale_allocation,
)
from mmic.layers import DOConv2d, PSConv2d


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('pattern', [(1, 2, 1, 4), (3,), (1, 2, 4, 8)])
def test_scale_allocation_is_what_loops_find(groups, pattern):
    layer = PSConv2d(16, 8, 3, groups=groups, pattern=pattern)
    largest = {}
    for c in range(8):
        for k in range(16 // groups):
            rate = pattern[(k - c % (8 // groups)) % len(pattern)]
            mean = sum(layer.weight[c, k].flatten().abs().tolist()) / 9
            largest[rate] = max(largest.get(rate, 0), mean)
    total = sum(largest.values())
    found = scale_allocation(layer.weight, layer.dilations)
    assert list(found) == sorted(set(pattern))
    assert found == pytest.approx({rate: value / total for rate, value in largest.items()})
    assert sum(found.values()) == pytest.approx(1)


def test_scale_allocation_of_zeros():
    layer = PSConv2d(4, 4, 3)
    assert scale_allocation(layer.weight * 0, layer.dilations) == {1: 0.0, 2: 0.0, 4: 0.0}


@pytest.mark.parametrize('init', ['identity', 'random'])
@pytest.mark.parametrize(('groups', 'size'), [(1, (3, 3)), (2, (3, 5)), (4, (1, 3))])
def test_kernel_change_is_what_loops_find(groups, size, init):
    layer = DOConv2d(4, 8, size, groups=groups, init=init).double()
    nn.init.normal_(layer.depthwise)
    taps = size[0] * size[1]
    w = layer.weight.detach().flatten(2)
    d = layer.depthwise.detach().clone()
    if init == 'identity':
        d += torch.eye(taps)[:, :, None]
    expected = torch.zeros(taps, dtype=torch.float64)
    for o in range(8):
        for j in range(4 // groups):
            c = o // (8 // groups) * (4 // groups) + j
            for i in range(taps):
                composed = sum(d[i, s, c] * w[o, j, s] for s in range(taps))
                expected[i] += (composed - w[o, j, i]).abs()
    torch.testing.assert_close(kernel_change(layer), expected.reshape(size))


def test_kernel_change_of_a_fresh_layer_is_zero():
    assert kernel_change(DOConv2d(4, 8, 3)).tolist() == [[0.0] * 3] * 3


def test_kernel_change_needs_one_column_a_tap():
    network = nn.Sequential(DOConv2d(4, 8, 3), DOConv2d(8, 8, 3, d_mul=11))
    with pytest.raises(ValueError, match=r"Layer '1': .* d_mul is 9.* here it is 11"):
        measure(layers_of(network, 'doconv'), 'doconv')


def test_layers_that_cannot_be_measured_are_named():
    network = nn.Sequential(PSConv2d(4, 8, 3), PSConv2d(8, 8, 3))
    network[1].weight.data[0, 0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match=r"Layer '1': the weights hold NaN"):
        measure(layers_of(network, 'psconv'), 'psconv')
    with pytest.raises(ValueError, match='has no DOConv2d layers'):
        layers_of(network, 'doconv')


def test_checkpoint_of_another_network_is_refused_by_name():
    network = nn.Sequential(DOConv2d(4, 8, 3), DOConv2d(8, 8, 3))
    layers = layers_of(network, 'doconv')
    state = network.state_dict()
    plain = {key: value for key, value in state.items() if 'depthwise' not in key}
    with pytest.raises(ValueError, match=r"x\.pth: layer '0' has no depthwise in the checkpoint"):
        load_layers(network, layers, plain, 'x.pth')
    with pytest.raises(ValueError, match=r'x\.pth: size mismatch for 1\.weight'):
        load_layers(network, layers, {**state, '1.weight': torch.ones(8, 4, 3, 3)}, 'x.pth')
    with pytest.raises(ValueError, match=r"Layer '1': D is \(9, 11, 8\) in the checkpoint"):
        load_layers(network, layers, {**state, '1.depthwise': torch.ones(9, 11, 8)}, 'x.pth')


def is_picture(path):
    """Whether a PNG has something drawn on it."""
    return matplotlib.image.imread(path)[..., :3].std() > 0.01


def test_pictures_of_any_number_of_layers(tmp_path):
    for count in (1, 7):
        shares = {f'layer{n}': {1: 0.5, 2: 0.3, 4: 0.2} for n in range(count)}
        shares['last'] = {1: 1.0}
        plot_scale_allocation(shares, tmp_path / f'ps{count}.png')
        changes = {f'layer{n}': torch.rand(3, 3) for n in range(count)}
        changes['last'] = torch.zeros(1, 5)
        plot_kernel_changes(changes, tmp_path / f'do{count}.png')
        assert is_picture(tmp_path / f'ps{count}.png')
        assert is_picture(tmp_path / f'do{count}.png')


# tools/plot_weights.py


@pytest.fixture
def trained(tmp_path):
    """A function that writes a config of a small ResNet and a checkpoint with random weights."""
    pytest.importorskip('mmdet.models', reason='mmdet is not installed')

    def write(backbone):
        config, checkpoint = tmp_path / 'config.py', tmp_path / 'checkpoint.pth'
        config.write_text(
            "custom_imports = dict(imports=['mmic'], allow_failed_imports=False)\n"
            f"default_scope = 'mmdet'\nmodel = dict(base_channels=8, {backbone})\n"
        )
        init_default_scope('mmdet')
        model = MODELS.build(Config.fromfile(config).model)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
        torch.save({'state_dict': model.state_dict()}, checkpoint)
        return config, checkpoint

    return write


@pytest.mark.parametrize(
    ('backbone', 'count'),
    [
        ("type='PSResNet', depth=50", 16),
        ("type='ResNet', depth=18, conv_cfg=dict(type='DOConv2d')", 17),
    ],
)
def test_command_draws_a_checkpoint(trained, tmp_path, backbone, count):
    out = tmp_path / 'new' / 'weights.png'
    config, checkpoint = trained(backbone)
    done = call_tool('plot_weights.py', config, checkpoint, '--out', out)
    assert done.code == 0, done.text
    assert f'Drew {count} layers\nWrote {out}' in done.text
    assert is_picture(out)
    before = out.read_bytes()
    again = call_tool('plot_weights.py', config, checkpoint, '--out', out)
    assert again.code == 1
    assert 'pass --overwrite' in again.text
    assert out.read_bytes() == before


def test_command_refuses_what_it_cannot_draw(trained, tmp_path):
    out = tmp_path / 'weights.png'
    config, checkpoint = trained("type='ResNet', depth=18, conv_cfg=dict(type='DOConv2d')")

    def refused(*more):
        done = call_tool('plot_weights.py', config, checkpoint, '--out', out, *more)
        assert done.code == 1, done.text
        assert 'Traceback' not in done.text
        assert not out.exists()
        return done.text

    assert 'has no PSConv2d layers' in refused('--kind', 'psconv')
    text = refused('--cfg-options', 'model.conv_cfg.d_mul=10')
    # 49 taps of the stem are more than 10.
    assert 'd_mul' in text
    text = refused('--cfg-options', 'model.conv_cfg=None')
    assert 'has no PSConv2d or DOConv2d layers' in text
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'conv1.weight': torch.ones(8, 3, 7, 7)}}, other)
    checkpoint = other
    assert "layer 'conv1' has no depthwise in the checkpoint" in refused()
