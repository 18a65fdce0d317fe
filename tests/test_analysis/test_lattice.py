"""Kernel lattices of PSConv and of pattern files, and the command that draws them."""

import pytest
import torch
from helpers import call_tool, picture_colours
from matplotlib.colors import to_rgba

from mmic.analysis.lattice import pattern_lattice, psconv_lattice
from mmic.analysis.lattice_plot import lattice_figure
from mmic.pattern import DilationPattern, LayerPattern

CYCLE = (1, 2, 1, 4)


def expected_dilation(c, k, axes, groups, in_channels, out_channels):
    """Section 3.2 and appendix A by hand; 0 where there is no kernel."""
    depth, size = in_channels // groups, out_channels // groups
    if c // size != k // depth:
        return 0
    place = {
        'both': k % depth - c % size,
        'input': k % depth,
        'output': c % size,
        'group': c // size,
    }
    return CYCLE[place[axes] % 4]


@pytest.mark.parametrize(
    ('axes', 'groups'),
    [('both', 1), ('both', 2), ('input', 2), ('output', 4), ('group', 16), ('group', 8)],
)
def test_lattice_has_each_kernels_dilation(axes, groups):
    lattice = psconv_lattice(CYCLE, 16, 32, groups, axes)
    for c in range(32):
        for k in range(16):
            rate = expected_dilation(c, k, axes, groups, 16, 32)
            assert lattice.dilations[c, k].tolist() == [rate, rate]


def test_first_rows_are_those_of_the_paper():
    rows = psconv_lattice(CYCLE, 16, 16).dilations[:4, :5, 0].tolist()
    assert rows == [[1, 2, 1, 4, 1], [4, 1, 2, 1, 4], [1, 4, 1, 2, 1], [2, 1, 4, 1, 2]]


def test_rearranged_lattice_is_the_same_in_blocks():
    """Figure 4: P = 4 channels of equal place in the cycle stand together."""
    lattice, moved = (psconv_lattice(CYCLE, 16, 16, rearranged=flag) for flag in (False, True))
    assert sorted(moved.rows) == sorted(moved.columns) == list(range(16))
    for y, c in enumerate(moved.rows):
        for x, k in enumerate(moved.columns):
            assert moved.dilations[y, x].tolist() == lattice.dilations[c, k].tolist()
    for y in range(0, 16, 4):
        for x in range(0, 16, 4):
            assert len(moved.dilations[y : y + 4, x : x + 4].unique()) == 1


def test_rearranged_groups_keep_their_channels():
    moved = psconv_lattice(CYCLE, 16, 16, groups=2, rearranged=True)
    assert moved.rows[:8] == [0, 4, 1, 5, 2, 6, 3, 7]
    depthwise = psconv_lattice(CYCLE, 8, 8, groups=8, axes='group', rearranged=True)
    assert depthwise.rows == [0, 4, 1, 5, 2, 6, 3, 7]
    assert depthwise.dilations[:, :, 0].diagonal().tolist() == [1, 1, 2, 2, 1, 1, 4, 4]


def test_lattice_of_a_searched_layer_is_constant_along_the_input():
    layer = LayerPattern([(1, 3), (2, 2), (1, 1), (4, 1)], in_channels=6, groups=2)
    dilations = pattern_lattice('conv', layer).dilations
    assert dilations.shape == (4, 6, 2)
    for c, pair in enumerate([[1, 3], [2, 2], [1, 1], [4, 1]]):
        own = range(3) if c < 2 else range(3, 6)
        assert dilations[c].tolist() == [pair if k in own else [0, 0] for k in range(6)]
    with pytest.raises(ValueError, match="'conv': the file has no in_channels"):
        pattern_lattice('conv', LayerPattern([(1, 1)]))


@pytest.mark.parametrize('channels', [16, 32])
def test_figure_has_the_legends_colours(channels):
    """Small lattices have numbers in their cells, large ones have colours alone."""
    figure = lattice_figure([psconv_lattice(CYCLE, channels, 16, 2), psconv_lattice((3,), 16, 16)])
    first, second = figure.axes
    assert (first.get_xlabel(), first.get_ylabel()) == ('input channel', 'output channel')
    assert first.get_title() == 'cycle 1 2 1 4, axes both, groups 2'
    assert second.get_title() == 'cycle 3, axes both, groups 1'
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ['no kernel', 'dilation 1', 'dilation 2', 'dilation 3', 'dilation 4']
    patches = [patch.get_facecolor() for patch in legend.get_patches()]
    assert len(set(patches)) == 5
    of_rate = dict(zip((0, 1, 2, 3, 4), patches))
    cells = first.images[0].get_array()
    for c in range(16):
        for k in range(channels):
            rate = expected_dilation(c, k, 'both', 2, channels, 16)
            assert to_rgba(cells[c][k]) == pytest.approx(of_rate[rate])
    written = [text.get_text() for text in first.texts]
    assert written == ([] if channels > 16 else ['1', '2', '1', '4'] * 2 + written[8:])


def test_many_dilations_have_different_colours():
    for count in (3, 4, 5):  # 9, 16 and 25 dilations
        pairs = [(h, w) for h in range(1, count + 1) for w in range(1, count + 1)]
        lattice = pattern_lattice('conv', LayerPattern(pairs, in_channels=2))
        (legend,) = lattice_figure([lattice]).legends
        assert len({patch.get_facecolor() for patch in legend.get_patches()}) == count**2


# tools/show_pattern.py --cycle and --layer


def test_command_draws_psconv(tmp_path):
    out = tmp_path / 'new' / 'lattice.png'
    arguments = ('--cycle', '1', '2', '1', '4', '--out', out)
    done = call_tool('show_pattern.py', *arguments, '--axes', 'both', 'group', '--groups', 2, 16)
    assert done.code == 0, done.text
    assert f'Wrote {out}' in done.text
    assert picture_colours(out) > 3
    again = call_tool('show_pattern.py', *arguments)
    assert again.code == 1
    assert 'pass --overwrite' in again.text


def test_command_draws_a_layer_of_a_file(tmp_path):
    file, out = tmp_path / 'pattern.json', tmp_path / 'layer.png'
    layers = {'a.conv': LayerPattern([(1, 2)] * 8 + [(3, 1)] * 8, in_channels=8)}
    DilationPattern(layers, 'edo').save(file)
    done = call_tool('show_pattern.py', file, '--layer', 'a.conv', '--out', out)
    assert done.code == 0, done.text
    assert picture_colours(out) > 2
    done = call_tool('show_pattern.py', file, '--layer', 'b', '--out', tmp_path / 'no.png')
    assert done.code == 1
    assert f"{file}: there is no layer 'b'; it has a.conv." in done.text
    assert not (tmp_path / 'no.png').exists()


@pytest.mark.parametrize(
    ('options', 'code', 'told'),
    [
        (('--groups', 3), 1, '--channels 16 16 --groups 3 --axes both: in_channels must be div'),
        (('--groups', 8), 1, 'at least as many input channels in each group, got 2'),
        (('--groups', 0), 1, 'channels and groups are at least 1'),
        (('--channels', 3, 0), 1, 'channels and groups are at least 1'),
        (('--axes', 'both', 'input', '--groups', 1, 2, 4), 1, '--axes has 2 values for 3 lattices'),
        (('CR-ResNet50',), 2, 'or give --cycle'),
        (('--layer', 'a'), 2, '--layer take one pattern file'),
    ],
)
def test_command_refuses_impossible_layers(tmp_path, options, code, told):
    out = tmp_path / 'lattice.png'
    front = [option for option in options if option == 'CR-ResNet50']
    rest = [option for option in options if option not in front]
    done = call_tool('show_pattern.py', *front, '--cycle', 1, 2, 1, 4, '--out', out, *rest)
    assert done.code == code
    assert told in done.text
    assert not out.exists()


def test_command_refuses_options_of_the_other_kind(tmp_path):
    done = call_tool('show_pattern.py', 'CR-ResNet50', '--groups', 2, '--out', tmp_path / 'x.png')
    assert done.code == 2
    assert 'go with --cycle' in done.text


def test_lattice_takes_no_memory_for_weights():
    lattice = psconv_lattice(CYCLE, 2048, 2048)
    assert torch.equal(lattice.dilations[0, :4, 0], torch.tensor(CYCLE))
