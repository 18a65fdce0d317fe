"""The heat map of a pattern: shares of channels, and words that fit."""

import pytest

from mmic.analysis.show import pattern_figure
from mmic.pattern import DilationPattern, LayerPattern


@pytest.mark.parametrize('count', [1, 2, 30])
def test_heat_map_has_shares_and_its_words_fit(count):
    layers = {f'conv{n}': LayerPattern([(1, 1)] * 6 + [(2, 1)] * 2) for n in range(count)}
    figure = pattern_figure(DilationPattern(layers, 'edo'))
    axes, bar = figure.axes
    assert axes.images[0].get_array().tolist() == [[75, 0, 25, 0]] * count
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ['1,1', '1,2', '2,1', '2,2']
    assert axes.get_yticklabels()[0].get_text() == 'conv0 (8)'
    figure.draw_without_rendering()
    for text in (bar.yaxis.label, axes.yaxis.label, axes.xaxis.label, axes.title):
        extent = text.get_window_extent()
        assert extent.x0 >= 0
        assert extent.y0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y1 <= figure.bbox.y1
