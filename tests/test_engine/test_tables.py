"""Tables: no name is cut, in a file or on a terminal of 80 columns."""

import io
import re

import pytest
import torch
from rich.console import Console
from rich.table import Table

from mmic.analysis.show import pattern_table
from mmic.engine.tables import print_table
from mmic.pattern import DilationPattern, LayerPattern

NAMES = ('backbone.layer3.22.conv2', 'neck.fpn_convs.0.conv', 'neck.bottom_up.deepest.branch.conv')


def printed(table, width, terminal):
    text = io.StringIO()
    print_table(Console(file=text, width=width, force_terminal=terminal), table)
    return text.getvalue()


def wide_table():
    table = Table(title='A title')
    table.add_column('layer', no_wrap=True)
    table.add_column('number', justify='right', no_wrap=True)
    table.add_column('most frequent')
    for name in NAMES:
        table.add_row(name, '1234.567', ', '.join(f'({d}, {d}) x 10' for d in range(1, 9)))
    return table


@pytest.mark.parametrize('width', [20, 80, 250])
@pytest.mark.parametrize('terminal', [False, True])
def test_names_and_numbers_stand_in_one_piece(width, terminal):
    text = printed(wide_table(), width, terminal)
    for name in NAMES:
        assert f' {name} ' in text
    assert text.count('1234.567') == len(NAMES)
    assert '…' not in text


def test_in_a_file_a_row_is_a_line():
    lines = [line for line in printed(wide_table(), 80, False).splitlines() if '1234.567' in line]
    for line in lines:
        assert '(1, 1) x 10' in line
        assert '(8, 8) x 10' in line


def test_on_a_terminal_long_text_is_wrapped_to_its_width():
    text = re.sub(r'\x1b\[[0-9;]*m', '', printed(wide_table(), 100, True))
    assert max(map(len, text.splitlines())) <= 100


def test_table_of_a_pattern_keeps_names_with_further_columns():
    layers = {name: LayerPattern(torch.tensor([[1, 1], [2, 3]] * 16)) for name in NAMES}
    pattern = DilationPattern(layers, 'edo')
    error = dict.fromkeys(NAMES, '0.123 of 4.567')
    table = pattern_table(pattern, error_left=error, increase=dict.fromkeys(NAMES, '+0.5 (12 %)'))
    for terminal in (False, True):
        text = printed(table, 80, terminal)
        for name in NAMES:
            assert f' {name} ' in text
        assert text.count('0.123 of 4.567') == len(NAMES)
