"""Effective receptive fields of networks whose fields can be written down."""

import copy
import math

import matplotlib.image
import pytest
import torch
from helpers import build_model, call_tool, write_detector_config
from torch import nn

from mmic.analysis.erf import ERF, border_share, measure_erfs, radius, without_activations
from mmic.analysis.erf_plot import erf_figure, plot_erfs
from mmic.pattern import DilationPattern, LayerPattern


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def conv(in_channels, out_channels, size=3, **options):
    """A convolution that keeps the map's size, in float64, with random weights."""
    padding = options.pop('padding', size // 2 * options.get('dilation', 1))
    return nn.Conv2d(in_channels, out_channels, size, padding=padding, **options).double()


def ones(*arguments, **options):
    """The same with weights of one."""
    layer = conv(*arguments, **options)
    nn.init.ones_(layer.weight)
    return layer


def naive_radius(mass, centre, share):
    """Try the distance of every pixel; sum what lies within it."""
    distances = {
        (row, column): math.sqrt((row - centre[0]) ** 2 + (column - centre[1]) ** 2)
        for row in range(len(mass))
        for column in range(len(mass[0]))
    }
    total = sum(map(sum, mass))
    for limit in sorted(set(distances.values())):
        within = sum(mass[r][c] for (r, c), distance in distances.items() if distance <= limit)
        if within >= share * total * (1 - 1e-12):
            return limit
    raise AssertionError(share)


# The map


@pytest.mark.parametrize('depth', [1, 2, 4])
def test_ones_give_the_binomial_map(depth):
    """n kernels of ones: the field is the n-fold convolution of (1, 1, 1), in both axes."""
    line = [1]
    for _ in range(depth):
        line = [sum(([0, 0] + line + [0, 0])[i : i + 3]) for i in range(len(line) + 2)]
    expected = torch.zeros(17, 17, dtype=torch.float64)
    for row, down in enumerate(line):
        for column, across in enumerate(line):
            expected[8 - depth + row, 8 - depth + column] = down * across / max(line) ** 2
    channels = [1] + [2] * depth
    network = nn.Sequential(*(ones(a, b) for a, b in zip(channels, channels[1:])))
    (erf,) = measure_erfs(network, image_size=17, channels=1)
    torch.testing.assert_close(erf.map, expected)
    assert erf.centre == (8, 8)
    assert erf.name == 'C0'
    assert erf.stride == 1


def test_dilation_hits_nine_pixels():
    (erf,) = measure_erfs(ones(3, 4, dilation=3), image_size=16)
    hit = {tuple(pixel) for pixel in erf.map.nonzero().tolist()}
    assert hit == {(row, column) for row in (5, 8, 11) for column in (5, 8, 11)}
    assert erf.centre == (8, 8)
    # One pixel at 0, four at 3, four at 3 sqrt(2), all alike.
    assert erf.radius50 == 3
    assert erf.radius95 == pytest.approx(3 * math.sqrt(2))


def test_rgb_is_joined_by_absolute_values_and_channels_by_signed_ones():
    layer = conv(3, 2, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, -2, 3], [4, 1, -3]]).double()[:, :, None, None]
    shifted = conv(3, 2, 1, bias=False)
    shifted.weight.data = layer.weight.data.clone()
    network = without_activations(layer)
    image = torch.ones(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    network(image)[:, :, 2, 2].sum().backward()
    assert image.grad[0, :, 2, 2].tolist() == [5, -1, 0]
    wide = ones(3, 1, dilation=2, bias=False)
    wide.weight.data[0, :, 1, 1] = torch.tensor([5.0, -1, 0])
    (erf,) = measure_erfs(wide, image_size=8)
    assert erf.map.max() == 1
    assert erf.map[4, 4] == 1
    assert erf.map[2, 2] == 3 / 6


@pytest.mark.parametrize('kernel', [1, 3, 7])
@pytest.mark.parametrize(('size', 'middle'), [(16, 8), (24, 12), (20, 8)])
def test_centre_is_the_middle_of_strided_taps(kernel, size, middle):
    (erf,) = measure_erfs(ones(1, 1, kernel, stride=4), image_size=size, channels=1)
    rows, columns = erf.map.nonzero().T.tolist()
    assert {min(rows) + max(rows), min(columns) + max(columns)} == {2 * middle}
    assert erf.centre == (middle, middle)
    assert erf.stride == 4
    assert erf.name == 'C2'


def test_several_levels_and_their_names():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(conv(c, 3, stride=2) for c in (3, 3, 3))

        def forward(self, x):
            maps = []
            for layer in self.layers:
                x = layer(x)
                maps.append(x)
            return tuple(maps)

    pyramid = Pyramid()
    two, one = measure_erfs(pyramid, levels=(2, 1), image_size=32)
    assert [(erf.name, erf.stride) for erf in (two, one)] == [('C2', 4), ('C1', 2)]
    (last,) = measure_erfs(pyramid, image_size=32)
    assert last.name == 'C3'
    alone = pyramid.layers[0]
    torch.testing.assert_close(one.map, measure_erfs(alone, image_size=32)[0].map)
    assert [erf.name for erf in measure_erfs(pyramid, 'neck', (1,), 32)] == ['P1']
    with pytest.raises(ValueError, match=r'has no C5 \(stride 32\); it has C1, C2, C3'):
        measure_erfs(pyramid, levels=(5,), image_size=32)


# Radii and border


@pytest.mark.parametrize('share', [0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize('centre', [(3, 4), (2.5, 5.5), (0, 0)])
def test_radius_is_what_loops_find(centre, share):
    mass = torch.rand(7, 9, dtype=torch.float64) ** 4
    expected = naive_radius(mass.tolist(), centre, share)
    assert radius(mass, centre, share) == pytest.approx(expected, abs=1e-12)


def test_border_is_the_outer_sixteenth():
    mass = torch.ones(32, 32, dtype=torch.float64)
    assert border_share(mass) == pytest.approx(1 - 28**2 / 32**2)
    mass[:2], mass[-2:], mass[:, :2], mass[:, -2:] = 0, 0, 0, 0
    assert border_share(mass) == 0


# What is changed for the measurement, on a copy


@pytest.mark.parametrize(
    'activation',
    [nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.3), nn.PReLU(), nn.GELU(), nn.SiLU()],
)
def test_activations_do_not_count(activation):
    first, second = conv(3, 8), conv(8, 8)
    plain = nn.Sequential(first, second)
    # One module in two places, of which one is nested.
    network = nn.Sequential(first, activation, nn.Sequential(second, activation))
    expected = measure_erfs(plain, image_size=12)[0]
    found = measure_erfs(network, image_size=12)[0]
    assert torch.equal(found.map, expected.map)


def test_activation_under_two_names_of_one_parent():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = ones(1, 1)
            self.conv.weight.data *= -1
            self.relu1 = self.relu2 = nn.ReLU()

        def forward(self, x):
            return self.relu2(self.conv(self.relu1(x)))

    (erf,) = measure_erfs(Twice(), image_size=8, channels=1)
    assert erf.map.sum() == 9


@pytest.mark.parametrize('ceil_mode', [False, True])
def test_max_pool_spreads_its_gradient(ceil_mode):
    shape = dict(kernel_size=3, stride=2, padding=1, ceil_mode=ceil_mode)
    network = nn.Sequential(conv(3, 4), nn.MaxPool2d(**shape), conv(4, 4))
    average = nn.Sequential(network[0], nn.AvgPool2d(**shape), network[2])
    expected = measure_erfs(average, image_size=16)[0]
    assert torch.equal(measure_erfs(network, image_size=16)[0].map, expected.map)
    alone = nn.Sequential(ones(1, 1, 1), nn.MaxPool2d(3, 2, 1))
    (erf,) = measure_erfs(alone, image_size=8, channels=1)
    assert erf.map[3:6, 3:6].tolist() == [[1.0] * 3] * 3
    assert erf.map.sum() == 9


@pytest.mark.parametrize('options', [dict(dilation=2), dict(return_indices=True)])
def test_max_pool_without_average_form_is_named(options):
    network = nn.Sequential(conv(3, 4), nn.Sequential(nn.MaxPool2d(3, **options)))
    with pytest.raises(ValueError, match=r"Max-pool '1\.0' \(MaxPool2d.*no average pooling"):
        measure_erfs(network, image_size=16)


def test_the_model_stays_as_it_is():
    network = nn.Sequential(
        conv(3, 4), nn.BatchNorm2d(4).double(), nn.ReLU(), nn.MaxPool2d(2), conv(4, 4)
    )
    network[4].weight.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    kinds = [(name, type(module), module.training) for name, module in network.named_modules()]
    trained = [parameter.requires_grad for parameter in network.parameters()]
    measure_erfs(network, image_size=16)
    assert kinds == [(name, type(m), m.training) for name, m in network.named_modules()]
    assert trained == [parameter.requires_grad for parameter in network.parameters()]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_works_where_gradients_are_switched_off():
    with torch.no_grad():
        (erf,) = measure_erfs(ones(3, 1), image_size=8)
    assert erf.map.sum() == 9


@pytest.mark.parametrize(
    ('network', 'told'),
    [
        (nn.Sequential(conv(3, 4), nn.Flatten()), r'returns \(1, 256\) where a map'),
        (nn.Sequential(conv(3, 4), nn.Flatten(2), nn.LSTM(64, 2).double()), 'returns .* where'),
    ],
)
def test_other_outputs_are_refused(network, told):
    with pytest.raises(ValueError, match=told):
        measure_erfs(network, image_size=8)


@pytest.mark.parametrize('value', [0, math.nan, math.inf])
def test_gradient_that_shows_nothing_is_refused(value):
    layer = conv(3, 1)
    nn.init.constant_(layer.weight, value)
    with pytest.raises(ValueError, match='gradient of C0 is zero, NaN or infinite'):
        measure_erfs(layer, image_size=8)


# Detectors


def detector(tmp_path, toy_data, **backbone):
    path = tmp_path / f'{len(list(tmp_path.glob("*.py")))}.py'
    return write_detector_config(path, toy_data, **backbone)


def dilated_pattern(plain, rate):
    """All 3x3 convolutions of a backbone at one dilation."""
    layers = {
        name: LayerPattern([(rate, rate)] * layer.out_channels, (3, 3), layer.in_channels)
        for name, layer in plain.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
    }
    return DilationPattern(layers, 'edo', 'backbone')


@pytest.fixture
def plain_and_dilated(tmp_path, toy_data):
    """Configs of a plain R18 detector and of one with dilation 3, with checkpoints alike."""
    plain = detector(tmp_path, toy_data, type='ResNet')
    model = build_model(plain)
    pattern = dilated_pattern(model.backbone, 3)
    pattern.save(tmp_path / 'three.json')
    assert len(pattern.layers) == 16
    dilated = detector(
        tmp_path, toy_data, type='ICResNet', pattern=(tmp_path / 'three.json').as_posix()
    )
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'plain.pth')
    return plain, dilated, tmp_path / 'plain.pth'


def test_dilation_widens_the_field_of_the_same_weights(plain_and_dilated):
    plain, dilated, checkpoint = plain_and_dilated
    models = [build_model(plain), build_model(dilated)]
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)['state_dict']
    for model in models:
        model.load_state_dict(state)
    narrow, wide = (measure_erfs(model, image_size=256)[0] for model in models)
    assert narrow.name == wide.name == 'C5'
    assert narrow.centre == wide.centre == (128, 128)
    assert wide.radius95 > 1.2 * narrow.radius95
    assert wide.radius50 > narrow.radius50


def test_neck_levels_of_a_detector(plain_and_dilated):
    model = build_model(plain_and_dilated[0])
    erfs = measure_erfs(model, 'neck', (3, 4, 5), 256)
    assert [(erf.name, erf.stride) for erf in erfs] == [('P3', 8), ('P4', 16), ('P5', 32)]
    whole = without_activations(model)
    image = torch.ones(1, 3, 256, 256, requires_grad=True)
    whole.neck(whole.backbone(image))[1][:, :, 16, 16].sum().backward()
    expected = image.grad[0].abs().double().sum(0)
    torch.testing.assert_close(erfs[0].map, expected / expected.max())
    model.neck = None
    with pytest.raises(ValueError, match='FasterRCNN has no neck'):
        measure_erfs(model, 'neck')


# The picture


def erfs_of(*radii):
    mass = torch.rand(64, 64, dtype=torch.float64)
    return [
        ERF(f'P{level}', mass, 2**level, (32, 32), value / 2, value, 0.0)
        for level, value in enumerate(radii, 3)
    ]


def test_figure_has_titles_scales_circles_and_boxes():
    networks = {'plain': erfs_of(10, 20), 'dilated': erfs_of(16.25, 24)}
    figure = erf_figure(networks, anchors=True)
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = [axes.get_title() for axes in panels]
    assert len(titles) == 4
    assert any(title.startswith('dilated, P3') and '95 %: 16.2 px' in title for title in titles)
    assert any(title.startswith('plain, P4') and '50 %: 10.0 px' in title for title in titles)
    assert 'pixels' in figure.get_supxlabel()
    assert 'pixels' in figure.get_supylabel()
    (bar,) = [axes for axes in figure.axes if axes not in panels]
    assert 'gradient' in bar.get_ylabel()
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    for axes in panels:
        circles = sorted(patch.radius for patch in axes.patches if hasattr(patch, 'radius'))
        (box,) = [patch for patch in axes.patches if not hasattr(patch, 'radius')]
        level = 3 if 'P3' in axes.get_title() else 4
        assert (box.get_width(), box.get_height()) == (8 * 2**level,) * 2
        assert box.get_x() + box.get_width() / 2 == 0
        assert f'50 %: {circles[0]:.1f} px' in axes.get_title()
        assert circles[1] == 2 * circles[0]
        (image,) = axes.images
        # Pixel (32, 32), the centre, is drawn at (0, 0).
        assert image.get_extent() == [-32.5, 31.5, 31.5, -32.5]
        assert image.get_clim() == (0, 1)


def test_figure_without_anchors_has_circles_alone():
    figure = erf_figure({'plain': erfs_of(10)})
    patches = [patch for axes in figure.axes for patch in axes.patches if axes.get_title()]
    assert len(patches) == 2


@pytest.mark.parametrize('networks', [{}, {'a': []}, {'a': erfs_of(10), 'b': erfs_of(10, 20)}])
def test_figure_needs_the_same_maps_of_each(networks):
    with pytest.raises(ValueError, match='expected equally many maps of each network'):
        erf_figure(networks)


def test_picture_is_written(tmp_path):
    plot_erfs({'plain': erfs_of(10)}, tmp_path / 'erf.png')
    picture = matplotlib.image.imread(tmp_path / 'erf.png')
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.05


# tools/visualize_erf.py


def call(*arguments):
    return call_tool('visualize_erf.py', *arguments)


def rows_of(text):
    """``{(network, map): (radius50, radius95)}`` of the printed table."""
    cells = [[cell.strip() for cell in line.split('│')] for line in text.splitlines()]
    return {(c[1], c[2]): (float(c[4]), float(c[5])) for c in cells if len(c) == 8}


def test_tool_compares_checkpoints(plain_and_dilated, tmp_path):
    plain, dilated, checkpoint = plain_and_dilated
    out = tmp_path / 'new' / 'erf.png'
    files = [plain, checkpoint, dilated, checkpoint]
    done = call(*files, '--names', 'plain', 'dilated', '--size', '256', '--out', out)
    assert done.code == 0, done.text
    radii = rows_of(done.text)
    assert set(radii) == {('plain', 'C5'), ('dilated', 'C5')}
    assert radii['dilated', 'C5'][1] > 1.2 * radii['plain', 'C5'][1]
    assert 'random' not in done.text
    assert f'Wrote {out}' in done.text
    model = build_model(plain)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'])
    (erf,) = measure_erfs(model, image_size=256)
    assert radii['plain', 'C5'] == pytest.approx((erf.radius50, erf.radius95), abs=0.06)
    assert matplotlib.image.imread(out).std() > 0.05
    assert call(*files, '--names', 'a', 'b', '--out', out).code == 1


def test_tool_draws_the_neck_with_random_weights(plain_and_dilated, tmp_path):
    plain, dilated, _ = plain_and_dilated
    # Fetching these weights would fail here.
    pretrained = "init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet18')\n"
    plain.write_text(f'{plain.read_text()}{pretrained}model["backbone"].update(init_cfg=init_cfg)')
    out = tmp_path / 'erf.png'
    done = call(plain, dilated, '--at', 'neck', '--size', '128', '--out', out)
    assert done.code == 0, done.text
    assert done.text.count('the weights are random') == 2
    radii = rows_of(done.text)
    names = (plain.stem, dilated.stem)
    assert set(radii) == {(name, level) for name in names for level in ('P3', 'P4', 'P5')}
    # The same random weights.
    assert radii[dilated.stem, 'P5'][0] > radii[plain.stem, 'P5'][0]
    assert 'The image of 128 pixels cuts it' in done.text
    assert out.is_file()


def test_tool_refuses_weights_of_another_network(plain_and_dilated, tmp_path):
    plain, _, checkpoint = plain_and_dilated
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    cases = {}
    cases['lacks backbone.conv1.weight'] = dict(state)
    del cases['lacks backbone.conv1.weight']['backbone.conv1.weight']
    cases['has, and the network of the config has not, backbone.layer9.weight'] = {
        **state,
        'backbone.layer9.weight': torch.zeros(1),
    }
    cases['size mismatch for conv1.weight'] = {**state, 'backbone.conv1.weight': torch.zeros(1)}
    cases['holds no backbone.* weights'] = {'conv.weight': torch.zeros(1)}
    out = tmp_path / 'refused.png'
    for told, changed in cases.items():
        torch.save({'state_dict': changed}, tmp_path / 'changed.pth')
        done = call(plain, tmp_path / 'changed.pth', '--out', out)
        assert done.code == 1
        assert 'changed.pth' in done.text
        assert told in done.text
    # The heads are not looked at, nor the neck where it is not drawn.
    only = {key: value for key, value in state.items() if key.startswith('backbone.')}
    torch.save({'state_dict': only}, tmp_path / 'changed.pth')
    assert call(plain, tmp_path / 'changed.pth', '--at', 'neck', '--out', out).code == 1
    assert not out.exists()
    done = call(plain, tmp_path / 'changed.pth', '--size', '64', '--out', out)
    assert done.code == 0, done.text


@pytest.mark.parametrize(
    ('arguments', 'code', 'told'),
    [
        (['x.pth', 'CONFIG'], 2, 'a checkpoint stands behind its config'),
        (['CONFIG', 'x.pth', 'y.pth'], 2, 'y.pth: a checkpoint stands behind its config'),
        (['x.onnx'], 2, 'x.onnx: a checkpoint stands behind its config'),
        (['missing.py'], 1, 'There is no config file missing.py'),
        (['CONFIG', 'missing.pth'], 1, 'missing.pth'),
        (['CONFIG', 'CONFIG'], 2, '--names takes 2 different names'),
        (['CONFIG', '--names', 'a', 'b'], 2, '--names takes 1 different names'),
        (['CONFIG', '--size', '100'], 2, '--size takes a multiple of 32 from 32 up, got 100'),
        (['CONFIG', '--size', '0'], 2, '--size takes a multiple of 32'),
        (['CONFIG', '--levels', 'P3'], 2, "--at backbone takes C2, C3 ..., got 'P3'"),
        (['CONFIG', '--levels', 'C3', 'C3'], 2, 'one stands twice'),
        (
            ['CONFIG', '--levels', 'C9', '--size', '64'],
            1,
            'no C9 (stride 512); it has C2, C3, C4, C5',
        ),
        (['CONFIG', '--device', 'nowhere'], 2, 'nowhere'),
    ],
)
def test_tool_refuses_bad_input(arguments, code, told, toy_data, tmp_path):
    config = detector(tmp_path, toy_data, type='ResNet')
    arguments = [config if word == 'CONFIG' else word for word in arguments]
    done = call(*arguments, '--out', tmp_path / 'refused.png')
    assert done.code == code, done.text
    assert told in done.text
    assert 'Traceback' not in done.text
    assert not (tmp_path / 'refused.png').exists()
