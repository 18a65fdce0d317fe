"""Sketches of CR-NAS's networks, and the command that draws them by name."""

import pytest
from helpers import call_tool, picture_colours
from matplotlib.patches import Rectangle

from mmic.analysis.stages import sketch_family, sketch_pattern, stages_figure
from mmic.pattern import DilationPattern, LayerPattern, PatternError

# Tables 5 and 6; an operation code of 0, 1, 2 means dilation 1, 2, 3.
CR_R50 = [0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 1, 0, 2, 1, 1, 2]
CR_MV2 = [0, 1, 0, 1, 0, 2, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 2, 0, 0]


def pattern_of(blocks, dilations, method='cr_nas', name='layer{}.{}.conv2'):
    """A pattern with one dilation a block, as ``tools/cr_search.py`` writes it."""
    names = [name.format(s, b) for s, count in enumerate(blocks, 1) for b in range(count)]
    layers = {name: LayerPattern([(d, d)] * 8, in_channels=8) for name, d in zip(names, dilations)}
    return DilationPattern(layers, method, 'backbone', blocks)


def cells_of(axes):
    """Blocks as drawn: rectangles of side 1; frames are larger."""
    found = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_height() == 1]
    return sorted(found, key=lambda cell: cell.get_x())


@pytest.mark.parametrize('name', ['ResNet50', 'SCR-ResNet50', 'CR-ResNet50'])
def test_any_of_the_names_draws_figure_4(name):
    figure = stages_figure(sketch_family(name))
    titles = [axes.get_title(loc='left') for axes in figure.axes]
    assert titles == [
        'ResNet50: 3, 4, 6, 3 blocks',
        'SCR-ResNet50: 1, 3, 5, 7 blocks',
        'CR-ResNet50: 1, 3, 5, 7 blocks',
    ]
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ['dilation 1', 'dilation 2', 'dilation 3']
    colours = [patch.get_facecolor() for patch in legend.get_patches()]
    assert len(set(colours)) == 3
    for axes, codes, blocks in zip(
        figure.axes, ([0] * 16, [0] * 16, CR_R50), ([3, 4, 6, 3], [1, 3, 5, 7], [1, 3, 5, 7])
    ):
        assert [cell.get_facecolor() for cell in cells_of(axes)] == [colours[c] for c in codes]
        assert [text.get_text() for text in axes.texts] == [str(code + 1) for code in codes]
        frames = [p for p in axes.patches if p.get_height() > 1]
        assert [round(frame.get_width()) for frame in frames] == blocks
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ['stage 1', 'stage 2', 'stage 3', 'stage 4']


def test_fixed_units_of_mobilenet_have_no_dilation():
    figure = stages_figure(sketch_family('CR-MobileNetV2'))
    axes = figure.axes[-1]
    assert [text.get_text() for text in axes.texts] == [str(code + 1) for code in CR_MV2[1:-2]]
    cells = cells_of(axes)
    assert len(cells) == 20
    grey = figure.legends[0].get_patches()[-1].get_facecolor()
    assert [place for place, cell in enumerate(cells) if cell.get_facecolor() == grey] == [
        0,
        18,
        19,
    ]


def test_resnext_has_no_fully_searched_network():
    names = [sketch.name for sketch in sketch_family('ResNeXt50-32x4d')]
    assert names == ['ResNeXt50-32x4d', 'SCR-ResNeXt50-32x4d']


def test_pattern_is_drawn_as_stages():
    sketch = sketch_pattern(pattern_of([2, 1, 3, 2], [1, 1, 2, 1, 3, 2, 2, 1]))
    assert sketch.stages() == [(1, 1), (2,), (1, 3, 2), (2, 1)]
    blocks = [1, 1, 2, 2, 3, 4, 4, 1, 1, 1]
    mobile = pattern_of(blocks[1:-2], [c + 1 for c in CR_MV2[1:-2]], name='layer{}.{}.conv2')
    mobile.stage_blocks = blocks
    assert list(sketch_pattern(mobile).dilations) == [code + 1 for code in CR_MV2]


def test_other_patterns_are_refused():
    pattern = pattern_of([2, 1, 3, 2], [1] * 8)
    pattern.stage_blocks = None
    with pytest.raises(PatternError, match='stages can be drawn of files with stage_blocks'):
        sketch_pattern(pattern)
    pattern.stage_blocks = [2, 2, 3, 2]
    with pytest.raises(PatternError, match='8 layers for 9 blocks'):
        sketch_pattern(pattern)
    mixed = pattern_of([1, 1, 1, 1], [1, 1, 2, 1])
    mixed.layers['layer2.0.conv2'] = LayerPattern([(1, 1), (1, 2)])
    with pytest.raises(PatternError, match=r"layer 'layer2\.0\.conv2' has dilations \[1, 2\]"):
        sketch_pattern(mixed)


# tools/show_pattern.py


def test_command_draws_a_name(tmp_path):
    out = tmp_path / 'new' / 'cr.png'
    done = call_tool('show_pattern.py', 'CR-ResNet50', '--out', out)
    assert done.code == 0, done.text
    assert 'CR-ResNet50: dilations 1 | 1 2 1 | 1 1 2 3 1 | 1 2 1 3 2 2 3' in done.text
    assert f'Wrote {out}' in done.text
    assert picture_colours(out) > 3
    again = call_tool('show_pattern.py', 'CR-ResNet50', '--out', out)
    assert again.code == 1
    assert 'pass --overwrite' in again.text


def test_command_draws_files_of_cr_nas_and_names(tmp_path):
    file = tmp_path / 'found.json'
    pattern_of([2, 1, 3, 2], [1, 1, 2, 1, 3, 2, 2, 1]).save(file)
    done = call_tool('show_pattern.py', file)
    assert done.code == 0, done.text
    assert f'{file}: dilations 1 1 | 2 | 1 3 2 | 2 1' in done.text
    # Three dilations, and black lines and text.
    assert picture_colours(tmp_path / 'found.png') > 3
    out = tmp_path / 'both.png'
    done = call_tool('show_pattern.py', 'ResNet18', file, '--out', out)
    assert done.code == 0, done.text
    assert 'ResNet18: dilations 1 1 | 1 1 | 1 1 | 1 1' in done.text
    assert picture_colours(out) > 3
    heat = tmp_path / 'heat.png'
    done = call_tool('show_pattern.py', file, '--heat-map', '--out', heat)
    assert done.code == 0, done.text
    assert heat.read_bytes() != (tmp_path / 'found.png').read_bytes()


def test_command_names_near_architectures(tmp_path):
    out = tmp_path / 'x.png'
    for name, near in (('CR-ResNet5', 'CR-ResNet50'), ('cr-mobilenet', 'CR-MobileNetV2')):
        done = call_tool('show_pattern.py', name, '--out', out)
        assert done.code == 1
        assert f'CR-NAS has no architecture {name!r}. Did you mean' in done.text
        assert near in done.text.partition('Did you mean')[2].partition('?')[0]
    done = call_tool('show_pattern.py', 'something', '--out', out)
    assert done.code == 1
    assert 'Did you mean' not in done.text
    assert 'It has MobileNetV2' in done.text
    assert not out.exists()


def test_command_says_where_it_cannot_write(tmp_path):
    (tmp_path / 'file').write_text('')
    done = call_tool('show_pattern.py', 'CR-ResNet50', '--out', tmp_path / 'file' / 'x.png')
    assert done.code == 1
    assert 'Traceback' not in done.text
    assert str(tmp_path / 'file') in done.text
