"""Benchmarks time the right functions, and report what was timed. No test looks at a duration."""

import json
import math
import re

import pytest
import torch
from helpers import call_tool
from torch import nn
from torch.nn import functional as F

from mmic.analysis import bench_backbones, bench_layers, bench_search, benchmark
from mmic.analysis.bench_aims import AIMS, aim_cells
from mmic.analysis.bench_layers import add_fused, make_layers, stage_shapes, time_rows
from mmic.analysis.bench_naive import ConcatenatedIC, EinsumDO, SummedPS
from mmic.analysis.bench_pattern import made_dilations, widths_of
from mmic.analysis.bench_report import to_json, to_markdown
from mmic.analysis.bench_table import Measured
from mmic.analysis.benchmark import Setting, interleaved_medians
from mmic.layers.fused_conv import FusedConv2d
from mmic.pattern import DilationPattern, LayerPattern, PatternError

CHANNELS = 32


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def naive_conv(x, weight, rates):
    """A 3x3 convolution whose kernel (c, k) has dilation ``rates[c][k]``, by loops."""
    outputs = []
    for row, kernels in zip(rates, weight):
        terms = [
            F.conv2d(x[:, k : k + 1], kernel[None, None], padding=rate, dilation=rate)
            for k, (rate, kernel) in enumerate(zip(row, kernels))
        ]
        outputs.append(sum(terms))
    return torch.cat(outputs, 1)


def ps_rates(channels):
    """The paper's matrix for (1, 2, 1, 4), section 3.2."""
    return [[(1, 2, 1, 4)[(k - c) % 4] for k in range(channels)] for c in range(channels)]


@pytest.mark.parametrize('layout', ['contiguous', 'channels_last'])
def test_rows_compute_what_their_names_say(layout):
    setting = Setting(layout=layout)
    dilations = made_dilations(CHANNELS)
    rows = make_layers(CHANNELS, [dilations])
    weight = rows['plain'][0].weight.detach()
    x = setting.place(torch.randn(2, CHANNELS, 10, 12))
    plain = F.conv2d(x, weight, padding=1)
    blocks = made_dilations(CHANNELS, 16)

    def by_output(pairs):
        return naive_conv(x, weight, [[tuple(pair)] * CHANNELS for pair in pairs.tolist()])

    dilated = F.conv2d(x, weight, padding=2, dilation=2)
    ps = naive_conv(x, weight, ps_rates(CHANNELS))
    expected = {
        'plain': plain,
        'plain, dilation 2': dilated,
        'plain, 9x9': plain,
        # Offsets start at 0 and masks at sigmoid(0).
        'deformable v2 (mmcv)': plain / 2,
        # Both branches start with the same weight.
        'RF search (mmcv)': (plain + dilated) / 2,
        'IC, published form': by_output(dilations),
        'IC': by_output(dilations),
        'IC, multiple 16': by_output(blocks),
        'PS, published form': naive_conv(x, weight, published_ps_rates(CHANNELS)),
        'PS, block form': ps,
        'PS, sum form': ps,
        'DO, published form': plain,
        'DO': plain,
    }
    assert set(rows) == set(expected)
    for name, layers in rows.items():
        assert not isinstance(layers, str), f'{name}: {layers}'
        with torch.no_grad():
            output = bench_layers.place_layer(setting, layers[0])(x)
        torch.testing.assert_close(output, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def published_ps_rates(channels):
    """By (input block - output block) mod 4 of four contiguous blocks: 2, 1, 4, 1."""
    size = channels // 4
    return [
        [(2, 1, 4, 1)[(k // size - c // size) % 4] for k in range(channels)]
        for c in range(channels)
    ]


def test_published_ps_form_trains_its_own_kernels_alone():
    layer = SummedPS(nn.Conv2d(8, 8, 3, padding=1, bias=False))
    layer(torch.randn(1, 8, 9, 9)).square().sum().backward()
    rates = torch.tensor(published_ps_rates(8))
    gradients = layer.conv.weight.grad.abs().sum((2, 3))
    assert torch.equal(gradients > 0, rates == 1)
    assert layer.gwconv.weight.numel() + layer.gwconv_shift.weight.numel() == 8 * 4 * 9


def test_published_do_form_composes_both_factors():
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    layer = EinsumDO(conv)
    nn.init.normal_(layer.D)
    kernel = torch.zeros(2, 3, 9)
    for o in range(2):
        for c in range(3):
            for i in range(9):
                for s in range(9):
                    d = layer.D[c, i, s].item() + (i == s)
                    kernel[o, c, i] += d * conv.weight[o, c].flatten()[s].item()
    x = torch.randn(1, 3, 6, 6)
    expected = F.conv2d(x, kernel.reshape(2, 3, 3, 3), padding=1)
    torch.testing.assert_close(layer(x).detach(), expected, atol=1e-5, rtol=1e-4)


def test_published_ic_form_has_one_convolution_a_run():
    pairs = torch.tensor([[1, 1], [1, 1], [2, 3], [1, 1]])
    layer = ConcatenatedIC(nn.Conv2d(4, 4, 3, padding=1, bias=False), pairs)
    assert [conv.out_channels for conv in layer.convs] == [2, 1, 1]


def test_fused_rows_are_what_fuse_makes_within_a_bottleneck():
    rows = make_layers(CHANNELS, [made_dilations(CHANNELS)])
    fused = add_fused(rows)
    assert type(fused['DO, fused'][0]) is nn.Conv2d
    for name in ('IC, fused', 'IC, multiple 16, fused', 'PS, block form, fused'):
        assert isinstance(fused[name][0], FusedConv2d)
        # The 1x1 convolutions took over the orders of the channels.
        assert not list(fused[name][0].buffers())
    assert set(rows) < set(fused)


def test_generated_pattern_is_like_the_published_ones():
    for width in (64, 128, 256, 512):
        dilations = made_dilations(width)
        share = (dilations == 1).all(1).double().mean()
        assert 0.26 <= share <= 0.66
        assert 9 <= len(dilations.unique(dim=0)) <= 16
        counts = made_dilations(width, 16).unique(dim=0, return_counts=True)[1]
        assert (counts % 16 == 0).all()


def write_published(path, *widths):
    path.write_text(json.dumps([{'(0, 0)': width - 3, '(1, 3)': 3} for width in widths]))
    return path


def test_layers_of_a_file_are_found_by_their_width(tmp_path):
    published = write_published(tmp_path / 'published.json', 16, 32, 16)
    found = widths_of(published, [16, 32])
    assert {width: len(layers) for width, layers in found.items()} == {16: 2, 32: 1}
    assert found[32][0].tolist() == [[1, 1]] * 29 + [[2, 4]] * 3
    own = tmp_path / 'own.json'
    layers = {'a': LayerPattern([(1, 2)] * 16), 'b': LayerPattern([(3, 1)] * 16, (5, 5))}
    DilationPattern(layers, 'edo').save(own)
    assert [each.tolist() for each in widths_of(own, [16])[16]] == [[[1, 2]] * 16]


def test_file_without_a_width_is_refused(tmp_path):
    path = write_published(tmp_path / 'narrow.json', 16)
    with pytest.raises(PatternError, match=r'narrow\.json.*64 channels.*\[16\]'):
        widths_of(path, [16, 64])


class Clock:
    """A clock that stands still but for what functions add to it."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 100.0, []
        monkeypatch.setattr(benchmark.time, 'perf_counter', lambda: self.now)

    def function(self, name, durations):
        durations = iter(durations)

        def run():
            self.calls.append(name)
            self.now += next(durations)

        return run


def test_medians_are_of_interleaved_rounds_after_the_warm_up(monkeypatch):
    clock = Clock(monkeypatch)
    functions = {
        'a': clock.function('a', [90, 80, 1, 5, 2]),
        'b': clock.function('b', [70, 60, 8, 4, 40]),
    }
    assert interleaved_medians(functions, repeats=3, warmup=2) == {'a': 2, 'b': 8}
    assert clock.calls == ['a', 'b'] * 5


def test_several_layers_of_a_row_count_by_their_geometric_mean(monkeypatch):
    clock = Clock(monkeypatch)
    durations = {1: 2.0, 2: 8.0, 3: 6.0}
    rows = {'IC': [1, 2], 'plain': [3], 'RF search (mmcv)': 'mmcv is missing'}

    def run(layer, x):
        return clock.function(layer, [durations[layer]] * 9)

    monkeypatch.setattr(bench_layers, 'place_layer', lambda setting, layer: layer)
    times = time_rows(rows, run, None, Setting(repeats=3), None)
    assert times == {'IC': pytest.approx(4.0), 'plain': 6.0, 'RF search (mmcv)': 'mmcv is missing'}


def test_only_operators_of_mmcv_may_refuse_a_dtype():
    class Refuses(nn.Conv2d):
        def forward(self, x):
            raise RuntimeError('not implemented for this dtype')

    x, conv = torch.randn(1, 4, 5, 5), Refuses(4, 4, 3)
    times = time_rows({'deformable (mmcv)': [conv]}, benchmark.forward, x, Setting(), None)
    assert times == {'deformable (mmcv)': 'not in float32 on cpu'}
    with pytest.raises(RuntimeError, match='not implemented'):
        time_rows({'IC': [conv]}, benchmark.forward, x, Setting(), None)


TABLES = [
    Measured(
        'layers: forward',
        'plain',
        's',
        ['one', 'two'],
        {'plain': [0.5, 2.0], 'IC, fused': [1.0, 1.0], 'DO, fused': [0.502, 2.0], 'X': ['no', 1.0]},
    ),
    Measured('train: peak memory', 'plain', 'bytes', ['memory'], {'plain': [2e6], 'PS': [3e6]}),
]


def test_ratios_are_geometric_means_to_the_base():
    layers, memory = TABLES
    assert layers.ratio('IC, fused') == pytest.approx(math.sqrt(2.0 * 0.5))
    assert layers.ratio('IC, fused', 'DO, fused') == pytest.approx(math.sqrt(1 / 0.502 / 2))
    assert layers.ratio('X') is None
    assert layers.ratio('not there') is None
    cells = {line[0]: line[1:] for line in layers.cells()}
    assert cells['IC, fused'] == ['2.00', '0.50', '1.00']
    assert cells['X'] == ['no', '0.50', '']
    assert memory.cells()[1] == ['PS', '2.9 MiB', '1.50']


def test_aims_are_compared_where_they_hold():
    def found(**changes):
        lines = aim_cells(TABLES, Setting(**changes))
        assert len(lines) == len(AIMS)
        return {what: [measured, reached] for what, _, measured, reached in lines}

    here = found()
    assert here['IC-Conv, inference, after fuse'] == ['1.00', 'yes']
    # As printed: 1.002 counts as 1.00.
    assert here['DO-Conv, inference, after fuse'] == ['1.00', 'yes']
    assert here['PS-ResNet-50, training step, peak memory'] == ['1.50', 'no']
    assert here['IC-Conv, CUDA, bfloat16, forward'] == ['not measured', '']
    for changes in ({'layout': 'contiguous'}, {'image': 256}):
        assert {measured for measured, _ in found(**changes).values()} == {'not measured'}
    for changes in ({'device': 'cuda'}, {'dtype': 'bfloat16'}):
        there = found(**changes)
        assert there['IC-Conv, inference, after fuse'] == ['not measured', '']
        assert there['PS-ResNet-50, training step, peak memory'] == ['1.50', 'no']


def test_every_aim_names_rows_that_are_measured(monkeypatch):
    # Each aim's row and table, from the functions that make the tables.
    rows = set(add_fused(make_layers(16, [made_dilations(16)])))
    known = {
        'layers: forward': rows,
        'layers: forward + backward': {row for row in rows if not row.endswith('fused')},
        'nats: forward + backward': set(bench_layers.MODES),
        'nats: kept for backward': set(bench_layers.MODES),
        'backbones: forward, fused': set(bench_backbones.KINDS),
        'train: peak memory': set(bench_backbones.KINDS),
        'search: for hardware': {bench_search.FOR_HARDWARE},
    }
    for aim in AIMS:
        assert aim.row in known[aim.table], aim
        assert aim.against in {None, *known[aim.table]}, aim


WHERE = {
    'date': '2026-01-09',
    'machine': 'a processor',
    'torch': '2.0',
    'threads': 2,
    **Setting()._asdict(),
    'pattern': 'generated',
    'command': 'python tools/benchmark.py layers',
}


def test_json_holds_every_median():
    read = json.loads(to_json(WHERE, TABLES))
    assert [Measured(**table) for table in read['tables']] == TABLES
    assert read['environment'] == WHERE


def test_markdown_has_every_row_under_date_and_machine():
    text = to_markdown(WHERE, TABLES, Setting())
    assert text.startswith('## 9 January 2026, a processor, 2 threads, torch 2.0, float32, cpu\n')
    assert '`python tools/benchmark.py layers`' in text
    for table in TABLES:
        for row in table.rows:
            assert f'\n| {row} | ' in text
    for aim in AIMS:
        assert f'\n| {aim.what} | ' in text
    widths = {line.count('|') for line in text.split('### layers')[1].splitlines() if '|' in line}
    assert 4 in widths or 5 in widths


def test_shapes_are_those_of_conv2():
    shapes = [(2, 64, 128, 128), (2, 128, 64, 64), (2, 256, 32, 32), (2, 512, 16, 16)]
    assert stage_shapes(512) == shapes


@pytest.fixture
def _small(monkeypatch):
    """Narrow networks, few of them, and a small search."""
    monkeypatch.setattr(bench_layers, 'WIDTHS', (16, 16, 16, 16))
    monkeypatch.setattr(bench_search, 'RESNET101', [(16, 2)])
    monkeypatch.setattr(bench_backbones, 'BACKBONE', dict(depth=18, base_channels=16))


@pytest.mark.usefixtures('_small')
def test_command_writes_what_it_measured(tmp_path):
    small = ('--repeats', 1, '--image', 32)
    for what in ('layers', 'nats', 'search', 'backbones'):
        files = tmp_path / f'{what}.json', tmp_path / f'{what}.md'
        done = call_tool('benchmark.py', what, *small, '--json', files[0], '--markdown', files[1])
        assert done.code == 0, done.text
        assert f'Wrote {files[0]}' in done.text
        content = json.loads(files[0].read_text())
        assert content['environment']['threads'] == torch.get_num_threads()
        page = files[1].read_text()
        for table in content['tables']:
            assert table['name'].startswith(f'{what}: ')
            assert table['base'] in table['rows']
            for row, values in table['rows'].items():
                assert f'\n| {row} | ' in page
                assert len(values) == len(table['columns'])
                assert all(isinstance(value, float) for value in values), (row, values)


@pytest.mark.usefixtures('_small')
def test_backbones_differ_in_their_convolutions_alone():
    built = {kind: bench_backbones.build_backbone(kind) for kind in bench_backbones.KINDS}
    kinds = {}
    for kind, backbone in built.items():
        convs = [part for part in backbone.modules() if isinstance(part, nn.Conv2d)]
        kinds[kind] = {type(conv).__name__ for conv in convs if conv.kernel_size == (3, 3)}
        assert len(convs) == 20
    ic = {'ICConv2d'}
    expected = {'plain': {'Conv2d'}, 'PS': {'PSConv2d'}, 'DO': {'DOConv2d'}, 'IC': ic}
    assert kinds == {**expected, 'IC, multiple 16': ic}


@pytest.mark.usefixtures('_small')
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_training_step_gives_every_weight_a_gradient_and_keeps_it(dtype):
    backbone = bench_backbones.build_backbone('DO')
    before = {name: value.detach().clone() for name, value in backbone.named_parameters()}
    setting = Setting(dtype=dtype, image=32)
    bench_backbones.training_step(backbone, torch.randn(2, 3, 32, 32), setting)()
    for name, value in backbone.named_parameters():
        assert value.grad.dtype == torch.float32
        assert torch.equal(value, before[name]), name


@pytest.mark.usefixtures('_small')
def test_training_is_timed_and_its_memory_measured(monkeypatch):
    monkeypatch.setattr(bench_backbones, 'KINDS', ('plain',))
    times, memory = bench_backbones.bench_training(Setting(repeats=1, image=32))
    assert times.rows['plain'][0] > 0
    # The process of its own builds ResNet-50: weights, gradients and momentum of float32.
    parameters = 23_508_032
    assert 12 * parameters < memory.rows['plain'][0] < 12 * parameters + 2**30


def test_memory_is_read_now_and_at_its_peak():
    before = bench_backbones.resident('VmRSS')
    block = torch.ones(2**26)  # 256 MiB
    with_it = bench_backbones.resident('VmRSS') - before
    del block
    without = bench_backbones.resident('VmRSS') - before
    peak = bench_backbones.resident('VmHWM') - before
    assert abs(with_it - 2**28) < 2**24
    assert without < 2**24
    assert peak >= with_it - 2**20


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [
        (['--device', 'cuda'], 'sees no CUDA device here'),
        (['--repeats', '0'], '--repeats must be 1 or more, got 0'),
        (['--image', '100'], '--image must be a multiple of 32, got 100'),
        (['--threads', '0'], '--threads must be 1 or more, got 0'),
        (['--pattern', 'no_such.json'], 'no_such.json'),
    ],
)
def test_command_refuses_before_any_work(monkeypatch, arguments, told):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    done = call_tool('benchmark.py', *arguments)
    assert done.code
    assert told in done.text
    assert 'Aims' not in done.text


def test_command_keeps_existing_results(tmp_path):
    path = tmp_path / 'old.json'
    path.write_text('old')
    done = call_tool('benchmark.py', '--json', path)
    assert done.code == 1
    assert '--overwrite' in done.text
    assert path.read_text() == 'old'


@pytest.mark.parametrize('groups', [1, 4])
def test_layers_of_another_shape_are_measured(tmp_path, groups):
    out = tmp_path / 'layers.json'
    shape = ('--shape', 3, 32, 6, 5, '--groups', groups)
    done = call_tool('benchmark.py', 'layers', *shape, '--repeats', 1, '--json', out)
    assert done.code == 0, done.text
    content = json.loads(out.read_text())
    assert [table['columns'] for table in content['tables']] == [['(3, 32, 6, 5)']] * 2
    for table in content['tables']:
        for row in ('plain', 'IC', 'PS, block form', 'DO'):
            assert table['rows'][row][0] > 0
        published = table['rows']['PS, published form'][0]
        assert published == 'not with groups' if groups > 1 else published > 0
    # The aims are for other shapes.
    assert not re.search(r'IC-Conv, forward \+ backward.* (yes|no) ', done.text)


def test_grouped_layers_hold_the_weights_of_the_plain_one():
    torch.manual_seed(0)
    rows = make_layers(16, [made_dilations(16, groups=4)], groups=4)
    plain, x = rows['plain'][0], torch.randn(1, 16, 9, 9)
    assert plain.groups == 4
    for name in ('IC', 'PS, block form', 'DO', 'plain, 9x9'):
        assert rows[name][0].groups == 4
    for name in ('DO', 'plain, 9x9'):
        torch.testing.assert_close(rows[name][0](x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['train', '--shape', 1, 8, 8, 8], '--shape and --groups go with `layers`'),
        (['layers', '--shape', 1, 8, 8, 0], 'must be 1 or more'),
        (['layers', '--shape', 1, 8, 8, 8, '--groups', 3], '--groups 3 does not divide 8 channels'),
    ],
)
def test_impossible_shapes_are_refused(arguments, message):
    done = call_tool('benchmark.py', *arguments)
    assert done.code
    assert message in done.text
