"""``--cfg-options``: read as MMDetection reads them, but for names of files; and written."""

import argparse
import shlex

import pytest
from mmengine.config import DictAction

from mmic.engine.config import add_config_options
from mmic.engine.options import option_told, option_word, parse_value, value_text


def read(words, capsys=None):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize(
    'text',
    [
        *('1', '-2', '0.5', '1e-4', 'true', 'False', 'None', 'ResNet', 'mmdet.ResNet', ''),
        *('1,2,3', '[1,2,3]', '[a, b, c]', '(1,2)', '(1,)', '[(1, 2, 3), [a, b], c]', '[]'),
        *('"[1,2]"', '[(0,1),(2,3)]', "['a','b']", 'a,b,', 'configs/a-b_c.py', '[1]'),
    ],
)
def test_values_are_read_as_mmengine_reads_them(text):
    assert parse_value(text) == DictAction._parse_iterable(text)
    assert type(parse_value(text)) is type(DictAction._parse_iterable(text))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('/my data/p.json', '/my data/p.json'),
        ("'/runs/a,b/p.json'", '/runs/a,b/p.json'),
        ('"/runs/[v2]/p (1).json"', '/runs/[v2]/p (1).json'),
        ("['/my data/a,b', /my data/c]", ['/my data/a,b', '/my data/c']),
        ("'12'", '12'),
        ("'None'", 'None'),
        ('/runs[v2]/p.json', '/runs[v2]/p.json'),
        ("it's", "it's"),
        ('(1, 2), (3, 4)', [(1, 2), (3, 4)]),
    ],
)
def test_names_keep_spaces_and_in_quotes_commas_and_brackets(text, expected):
    assert parse_value(text) == expected


def test_name_of_a_file_is_one_word_whatever_is_in_it(tmp_path):
    for name in ('a,b.json', 'a[1,b.json', '[x],(y).json', 'a b.json'):
        path = tmp_path / name
        path.touch()
        assert read([f'key={path}']) == {'key': str(path)}


@pytest.mark.parametrize(
    'value',
    [
        *(1, -0.5, 1e-4, True, None, 'ResNet', 'a b', 'a,b', '/x/[v2]/p(1).json', '12', 'true'),
        *([1, 2], ['a b', 'c,d', [3, 'e]']], (1, 2), (1,), [], "it's", 'say "a,b"', '', ' a '),
    ],
)
def test_what_is_written_is_read_again_also_behind_a_shell(value):
    assert parse_value(value_text(value)) == value
    assert read([option_word('a.b', value)]) == {'a.b': value}
    (word,) = shlex.split(option_told('a.b', value))
    assert read([word]) == {'a.b': value}


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match=r'no option of a config can be'):
        value_text("""both ' and ", quotes""")


@pytest.mark.parametrize(
    ('word', 'told'),
    [
        ('model.depth', "takes KEY=VALUE, got 'model.depth'"),
        ('=3', "takes KEY=VALUE, got '=3'"),
        ('a=[1,2', "a: brackets do not match in '[1,2'"),
        ('a=x],2', 'a: brackets do not match'),
        ("a=['b,2]", 'a: quotes do not match'),
    ],
)
def test_what_is_no_option_is_refused_with_what_would_be_right(word, told, capsys):
    with pytest.raises(SystemExit) as end:
        read([word])
    assert end.value.code == 2
    assert told in capsys.readouterr().err
