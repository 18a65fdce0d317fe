"""Commands that draw the papers' figures: what is in the figure, and in the picture's pixels."""

import itertools
import json
import math
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import call_tool
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmic.analysis.correlation import rank_correlation
from mmic.datasets.generated import make_generated
from mmic.engine.rows import ROOT
from mmic.engine.scalars import read_scalars
from mmic.engine.trial import trial_config

pytest.importorskip('mmdet', reason='mmdet is not installed')
pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')


def draw(out, name, *arguments):
    """Run a command that writes a picture, and look at both the figure and the picture.

    Returns:
        SimpleNamespace: ``axes``, ``legend`` (its texts), ``text`` (what was printed), and
        ``colours``, how many colours, not greys, cover at least 20 pixels each.
    """
    figures, save = [], Figure.savefig

    def keep(figure, *args, **options):
        figures.append(figure)
        save(figure, *args, **options)

    with mock.patch.object(Figure, 'savefig', keep):
        done = call_tool(name, *arguments, '--out', out)
    assert done.code == 0, done.text
    assert f'Wrote {out}' in done.text
    assert done.text.count('Wrote') == len(figures) == 1
    (axes,) = figures[0].axes
    pixels = (imread(out)[..., :3] * 255).astype(int).reshape(-1, 3)
    coloured = pixels[pixels.max(1) - pixels.min(1) > 60]
    _, counts = np.unique(coloured, axis=0, return_counts=True)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    colours = int((counts >= 20).sum())
    return SimpleNamespace(axes=axes, legend=legend, text=done.text, colours=colours)


def drawn_points(axes):
    """Lines of a figure of points: colour, hollow or not, style, and its points."""
    return [
        (
            to_hex(line.get_color()),
            to_hex(line.get_markerfacecolor()) == '#ffffff',
            line.get_linestyle(),
            [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata())],
        )
        for line in axes.lines
    ]


def write_results(path, **results):
    path.write_text(json.dumps({key.replace('__', '.'): value for key, value in results.items()}))
    return path


BLUE, ORANGE = '#1f77b4', '#ff7f0e'


def test_multiply_adds_against_ap(tmp_path):
    """Of ResNet-18, which Table 1 prints with 147.7 G, and of MobileNetV2 with 121.1 G."""
    results = [
        write_results(tmp_path / 'plain.json', cr__t1__r18__base={'box_AP': 21.0}),
        write_results(tmp_path / 'searched.json', cr__t4__r18={'box_AP': 22.5}),
    ]
    rows = ['--rows', 'cr.t4.mobilenetv2*', 'cr.t4.r18*']
    found = draw(
        *(tmp_path / 'macs.png', 'plot_results.py', 'macs-ap', *rows, '--results', *results)
    )
    assert found.axes.get_xlabel() == 'multiply-adds of the detector at 800 x 1088, G'
    assert found.axes.get_ylabel() == 'box AP, %'
    names = [
        f'Faster R-CNN (FPN) {cr}{net}' for net in ('MobileNetV2', 'ResNet') for cr in ('', 'SCR-')
    ]
    assert found.legend == [*names, 'printed in the paper', 'measured here']
    lines = drawn_points(found.axes)
    assert [line[:3] for line in lines] == [
        (BLUE, True, '-'),
        (BLUE, True, '--'),
        (ORANGE, True, '-'),
        (ORANGE, False, '-'),
        (ORANGE, True, '--'),
        (ORANGE, False, '--'),
    ]
    assert [y for *_, points in lines for _, y in points] == [32.2, 33.5, 32.1, 21.0, 33.4, 22.5]
    for *_, points in lines[2:]:
        assert [x for x, _ in points] == pytest.approx([147.7], rel=0.01)
    assert lines[0][-1][0][0] == pytest.approx(121.1, rel=0.01)
    assert found.colours > 1
    assert 'Drew 4 printed and 2 measured points' in found.text


def test_smaller_image_costs_less(tmp_path):
    """And a figure without results says so."""
    common = ['plot_results.py', 'macs-ap', '--rows', 'cr.t1.r18.base', '--proposals', 0]
    large = draw(tmp_path / 'large.png', *common, '--shape', 256, 256)
    small = draw(tmp_path / 'small.png', *common, '--shape', 128, 128)
    ((*_, [(four, _)]),) = drawn_points(large.axes)
    ((*_, [(one, _)]),) = drawn_points(small.axes)
    assert four == pytest.approx(4 * one, rel=0.05)
    assert small.legend[-1] == 'measured here: none'
    assert 'Drew 1 printed and no measured points' in small.text


def test_ap_against_kernel_of_the_supernet(tmp_path):
    """The figure prints no numbers: those at 3 and 9 are of Table 3."""
    measured = {3: 20.0, 5: 20.5, 7: 21.0, 9: 21.5, 11: 21.25, 13: 22.0}
    owners = {3: 'ic.t3.faster_rcnn.r50.base', 9: 'ic.t3.faster_rcnn.r50'}
    results = {owners.get(k, f'ic.f3.k{k}'): {'box_AP': ap} for k, ap in measured.items()}
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(results))
    out, title = tmp_path / 'kernel.png', ['--title', 'Made up']
    found = draw(out, 'plot_results.py', 'kernel-ap', '--results', path, *title)
    assert found.axes.get_title() == 'Made up'
    assert found.axes.get_xlabel() == 'kernel size of the supernet, 2 d_max + 1'
    assert list(found.axes.get_xticks()) == list(measured)
    assert [line[1:] for line in drawn_points(found.axes)] == [
        (True, '-', [(3, 36.4), (9, 38.9)]),
        (False, '-', list(measured.items())),
    ]
    assert found.legend == [
        'Faster R-CNN (FPN) IC-ResNet50',
        'printed in the paper',
        'measured here',
    ]


def test_accuracy_against_ap_of_rows(tmp_path):
    """Rows without a measured accuracy are left out; points of equal cost share a colour."""
    results = write_results(
        tmp_path / 'results.json',
        cr__t1__r50__base={'top1_acc': 76.0, 'box_AP': 36.0},
        cr__t4__r50={'top1_acc': 76.4, 'box_AP': 37.0},
        cr__t1__r50={'top1_acc': 76.2, 'box_AP': 38.0},
        cr__t1__r18={'box_AP': 33.0},
    )
    out = tmp_path / 'top1.png'
    found = draw(out, 'plot_results.py', 'top1-ap', '--results', results)
    assert (found.axes.get_xlabel(), found.axes.get_ylabel()) == ('top-1 accuracy, %', 'box AP, %')
    lines = drawn_points(found.axes)
    assert (lines[0][0], lines[0][1], lines[0][3]) == (BLUE, True, [(76.5, 38.3)])
    assert (lines[1][0], lines[1][1]) == (BLUE, False)
    assert lines[1][3] == [(76.0, 36.0), (76.2, 38.0), (76.4, 37.0)]
    assert (lines[2][0], lines[2][3]) == (ORANGE, [(77.3, 40.2)])
    # Two of the three pairs are in the same order: (2 - 1) / 3. Rho: 1 - 6 (0 + 1 + 1) / (3 * 8).
    assert "ResNet50: Kendall's tau 0.333, Spearman's rho 0.500" in found.text
    assert 'ResNet101: 0 measured, too few' in found.text
    assert found.colours > 1


def test_rank_correlation_is_that_of_pairs():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(12, generator=generator).tolist()
    second = torch.randn(12, generator=generator).tolist()
    pairs = itertools.combinations(range(12), 2)
    signs = [math.copysign(1, (first[i] - first[j]) * (second[i] - second[j])) for i, j in pairs]
    ranks = [[sorted(values).index(value) for value in values] for values in (first, second)]
    rho = np.corrcoef(ranks)[0, 1]
    assert rank_correlation(first, second) == pytest.approx((sum(signs) / len(signs), rho))
    assert rank_correlation(first, first) == pytest.approx((1, 1))
    assert all(map(math.isnan, rank_correlation(first, [1] * 12)))
    with pytest.raises(ValueError, match='at least 3'):
        rank_correlation([1, 2], [1, 2])
    missing = mock.patch.dict('sys.modules', {'scipy.stats': None})
    with missing, pytest.raises(ImportError, match='pip install scipy'):
        rank_correlation(first, second)


def write_journal(path, scores, **header):
    lines = [dict(format='mmic.journal', version=1, kind='stage', **header)]
    lines += [{'architecture': code, 'score': score} for code, score in scores.items()]
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_accuracy_against_ap_of_two_searches(tmp_path):
    """Codes that one of them lacks are left out; a journal that is being written is not touched."""
    codes = [(1, 1, 2, 4), (1, 2, 2, 3), (2, 1, 2, 3), (1, 1, 3, 3)]
    top1 = write_journal(tmp_path / 'top1.jsonl', dict(zip(codes, (60.0, 61.0, 62.0, 63.0))))
    aps = dict(zip([*codes[:3], (2, 2, 2, 2)], (0.30, 0.31, 0.29, 0.5)))
    ap = write_journal(tmp_path / 'ap.jsonl', aps)
    ap.write_text(ap.read_text() + '{"architec')
    before = ap.read_bytes()
    out = tmp_path / 'journals.png'
    found = draw(out, 'plot_results.py', 'top1-ap', '--journals', top1, ap)
    ((_, hollow, style, points),) = drawn_points(found.axes)
    assert (hollow, style) == (False, 'None')
    assert [x for x, _ in points] == [60, 61, 62]
    assert [y for _, y in points] == pytest.approx([30, 31, 29])
    assert found.legend == ['3 paths of equal cost', 'measured here']
    told = "3 paths of equal cost: Kendall's tau -0.333, Spearman's rho -0.500"
    assert found.axes.get_title() == told
    assert told in found.text
    assert ap.read_bytes() == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['macs-ap', '--rows', 'cr.t4.r5*x'], 'no id is like'),
        (['macs-ap', '--rows', 'cr.t2.*'], 'none has box_AP'),
        (['macs-ap', '--shape', '0', '8'], 'shape is the height and width'),
        (['macs-ap', '--rows', 'ic.t3.faster_rcnn.r50'], 'faster-rcnn_ic-r50-k9'),
        (['kernel-ap', '--metric', 'mask_AP'], 'none has mask_AP'),
        (['top1-ap', '--rows', 'cr.t1.*'], 'none has top1_acc and box_AP'),
        (['top1-ap', '--journals', 'a', 'b', '--rows', 'x'], 'in place of --rows'),
        (['top1-ap', '--journals', 'no_such.jsonl', 'b'], 'no_such.jsonl'),
    ],
)
def test_what_cannot_be_drawn(tmp_path, arguments, message):
    done = call_tool('plot_results.py', *arguments, '--out', tmp_path / 'figure.png')
    assert done.code in (1, 2)
    assert message in done.text
    assert 'Traceback' not in done.text
    assert not list(tmp_path.iterdir())


def test_pictures_are_kept(tmp_path):
    out = tmp_path / 'figure.png'
    out.write_text('mine')
    for command in (['plot_results.py', 'kernel-ap'], ['plot_curves.py', tmp_path]):
        done = call_tool(*command, '--out', out)
        assert done.code == 1
        assert 'pass --overwrite' in done.text
    assert out.read_text() == 'mine'
    draw(out, 'plot_results.py', 'kernel-ap', '--overwrite')


# Figure 6 from supernets: codes are drawn, scored as classifiers, and scored as detectors


def test_sample_of_a_classifier_is_scored_and_drawn(tmp_path):
    """On generated images; of one seed, the larger sample has the smaller one in it."""
    data = make_generated(tmp_path / 'data', ['imagenet'], 6, 6)
    path = ROOT / 'configs/cr_nas/imagenet/cr-r18-stage-supernet_150e_in1k.py'
    cfg = trial_config(Config.fromfile(path), data, max_size=64)
    # Three of the classes occur.
    cfg.model.backbone.base_channels = 4
    cfg.model.head.update(in_channels=32, num_classes=1000)
    cfg.dump(tmp_path / 'config.py')
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'supernet.pth')
    command = ['cr_search.py', 'stage', tmp_path / 'config.py', tmp_path / 'supernet.pth']
    command += ['--work-dir', tmp_path / 'run', '--journal', tmp_path / 'top1.jsonl']
    codes = {}
    for count in (3, 5):
        done = call_tool(*command, '--sample', count, '--out', tmp_path / f'{count}.json')
        assert done.code == 0, done.text
        _, *lines = map(json.loads, (tmp_path / 'top1.jsonl').read_text().splitlines())
        codes[count] = [tuple(line['architecture']) for line in lines]
        assert len(codes[count]) == count
        assert json.loads((tmp_path / f'{count}.json').read_text())['meta']['sample'] == count
    assert '3 evaluations are known' in done.text
    assert set(codes[3]) < set(codes[5])
    assert all(sum(code) == 8 for code in codes[5])
    scores = {code: 0.3 + number / 100 for number, code in enumerate(codes[5])}
    ap = write_journal(tmp_path / 'ap.jsonl', scores)
    found = draw(
        *(tmp_path / 'figure.png', 'plot_results.py', 'top1-ap'),
        *('--journals', tmp_path / 'top1.jsonl', ap),
    )
    ((*_, points),) = drawn_points(found.axes)
    assert sorted(y for _, y in points) == pytest.approx([30, 31, 32, 33, 34])
    assert '5 paths of equal cost' in found.text
    for count, code, told in ((0, 2, '--sample'), (10, 1, 'sample must be from 1 to 9')):
        done = call_tool(*command, '--sample', count, '--out', tmp_path / 'none.json')
        assert (done.code, told in done.text) == (code, True)


# Curves


@pytest.fixture(scope='module')
def trainings(tmp_path_factory):
    """A plain and a DO-Conv network after three epochs on generated images; work dirs by name."""
    folder = tmp_path_factory.mktemp('trainings')
    data = make_generated(folder / 'data', ['cifar10'], 6, 4)
    for name in ('plain', 'do'):
        start = '' if name == 'plain' else 'do-'
        path = ROOT / f'configs/do_conv/cifar/{start}r20-v1_164e_cifar10.py'
        cfg = trial_config(Config.fromfile(path), data, num_train=6, epochs=3)
        cfg.train_cfg.val_interval = 1
        cfg.default_hooks.checkpoint = None
        cfg.merge_from_dict(dict(work_dir=str(folder / name), randomness=dict(seed=0)))
        init_default_scope(cfg.default_scope)
        Runner.from_cfg(cfg).train()
    return folder


def test_training_and_validation_error(trainings, tmp_path):
    out = tmp_path / 'curves.png'
    found = draw(out, 'plot_curves.py', trainings / 'plain', trainings / 'do')
    assert found.axes.get_xlabel() == 'epoch'
    assert found.axes.get_ylabel() == 'error_top-1, error/top1'
    assert found.legend == [
        f'{run}: {key}' for run in ('plain', 'do') for key in ('error_top-1', 'error/top1')
    ]
    lines = found.axes.lines
    assert [to_hex(line.get_color()) for line in lines] == [BLUE, BLUE, ORANGE, ORANGE]
    assert [line.get_linestyle() for line in lines] == ['--', '-', '--', '-']
    for run, (train, val) in (('plain', lines[:2]), ('do', lines[2:])):
        (file,) = (trainings / run).glob('*/vis_data/scalars.json')
        records = [json.loads(line) for line in file.read_text().splitlines()]
        # Three iterations of two images an epoch, each of them logged; the third has the mean.
        logged = [record for record in records if 'accuracy_top-1' in record]
        assert len(logged) == 9
        assert list(train.get_xdata()) == list(val.get_xdata()) == [1, 2, 3]
        assert list(train.get_ydata()) == [100 - r['accuracy_top-1'] for r in logged[2::3]]
        validated = [record for record in records if 'accuracy/top1' in record]
        assert list(val.get_ydata()) == [100 - record['accuracy/top1'] for record in validated]
    assert found.colours > 1


def test_any_key_and_labels(trainings, tmp_path):
    arguments = [trainings / 'plain', '--keys', 'loss', '--labels', 'ResNet', '--title', 'A title']
    found = draw(tmp_path / 'loss.png', 'plot_curves.py', *arguments)
    assert found.legend == ['ResNet: loss']
    assert found.axes.get_title() == 'A title'
    ((line),) = found.axes.lines
    records = [r for r in read_scalars(trainings / 'plain') if 'loss' in r]
    assert list(line.get_ydata()) == [record['loss'] for record in records[2::3]]


def write_scalars(folder, start, *records, end=''):
    file = folder / start / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(record) + '\n' for record in records) + end)


def test_resumed_and_killed_trainings(tmp_path):
    """What was run again counts once, a line cut short is left out, iterations stay iterations."""
    run = tmp_path / 'run'
    first = [dict(loss=9 - n, epoch=n, iter=5 * n, step=5 * n) for n in (1, 2, 3)]
    write_scalars(run, '20260101_000000', *first, end='{"loss": 1')
    write_scalars(run, '20260102_000000', dict(loss=0.5, epoch=3, iter=15, step=15))
    found = draw(tmp_path / 'a.png', 'plot_curves.py', run, '--keys', 'loss')
    (line,) = found.axes.lines
    assert list(zip(line.get_xdata(), line.get_ydata())) == [(1, 8), (2, 7), (3, 0.5)]
    steps = tmp_path / 'steps'
    write_scalars(steps, 'now', *(dict(loss=n, iter=n, step=n) for n in (50, 100)))
    found = draw(tmp_path / 'b.png', 'plot_curves.py', steps, '--keys', 'loss')
    assert found.axes.get_xlabel() == 'iteration'
    assert list(found.axes.lines[0].get_xdata()) == [50, 100]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['run', 'steps', '--keys', 'loss'], 'run by epoch, steps by iteration'),
        (['run', '--keys', 'los'], "'los' was not logged; there are epoch, iter, loss, step"),
        (['run'], "'accuracy_top-1' was not logged"),
        (['run', '--keys', 'loss', '--labels', 'a', 'b'], 'expected 1 different labels'),
        (['none'], 'none holds no */vis_data/scalars.json'),
        (['broken', '--keys', 'loss'], 'line 2: expected a JSON object'),
    ],
)
def test_curves_that_cannot_be_drawn(tmp_path, arguments, message):
    write_scalars(tmp_path / 'run', 'now', dict(loss=1, epoch=1, iter=5, step=5))
    write_scalars(tmp_path / 'steps', 'now', dict(loss=1, iter=5, step=5))
    write_scalars(tmp_path / 'broken', 'now', dict(loss=1, iter=5, step=5), end='nothing\n')
    names = ('run', 'steps', 'none', 'broken')
    arguments = [tmp_path / part if part in names else part for part in arguments]
    out = tmp_path / 'figure.png'
    done = call_tool('plot_curves.py', *arguments, '--out', out)
    assert done.code == 1
    assert message in done.text
    assert not out.exists()
