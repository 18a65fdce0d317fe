"""The pattern file: round trips, and refusals that name the file, the layer and the value."""

import json
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmic.layers import PSConv2d
from mmic.models.inception import to_searched
from mmic.pattern import DilationPattern, LayerPattern, PatternError, is_published

LAYER = {'kernel_size': [3, 3], 'in_channels': 4, 'groups': 1, 'dilations': [[1, 1, 3], [2, 1, 5]]}


def document(**changes):
    """A small valid pattern file's content, with changes."""
    content = {'format': 'mmic.pattern', 'version': 1, 'method': 'edo', 'scope': 'backbone'}
    content.update(stage_blocks=[1, 1], meta={'layout': 'sorted'}, layers={'a.conv2': LAYER})
    content.update(changes)
    return {key: value for key, value in content.items() if value != 'DROP'}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / 'pattern.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


pairs = st.lists(st.tuples(st.integers(1, 255), st.integers(1, 4)), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(layers=st.dictionaries(st.text(min_size=1), pairs, min_size=1, max_size=4), data=st.data())
def test_round_trip(layers, data, tmp_path_factory):
    path = tmp_path_factory.mktemp('round') / 'new' / 'pattern.json'
    built = {name: LayerPattern(values, in_channels=6) for name, values in layers.items()}
    blocks = data.draw(st.none() | st.lists(st.integers(1, 9), min_size=1))
    pattern = DilationPattern(built, 'edo', 'backbone', blocks, {'note': ['any', 1.5, None]})
    pattern.save(path)
    again = DilationPattern.load(path)
    assert again.layers == pattern.layers
    assert list(again.layers) == list(pattern.layers)
    for name, values in layers.items():
        assert again.layers[name].dilations.tolist() == [list(pair) for pair in values]
    for attribute in ('method', 'scope', 'stage_blocks', 'meta'):
        assert getattr(again, attribute) == getattr(pattern, attribute)


def test_file_is_the_documented_form(tmp_path):
    dilations = torch.tensor([[1, 1]] * 42 + [[1, 2]] * 22)
    layers = {'layer1.0.conv2': LayerPattern(dilations, (3, 3), 64, 1)}
    DilationPattern(layers, 'edo', 'backbone', [3, 4, 6, 3]).save(tmp_path / 'x.json')
    assert json.loads((tmp_path / 'x.json').read_text()) == {
        'format': 'mmic.pattern',
        'version': 1,
        'method': 'edo',
        'scope': 'backbone',
        'stage_blocks': [3, 4, 6, 3],
        'meta': {},
        'layers': {
            'layer1.0.conv2': {
                'kernel_size': [3, 3],
                'in_channels': 64,
                'groups': 1,
                'dilations': [[1, 1, 42], [1, 2, 22]],
            }
        },
    }


def test_existing_file_is_kept_unless_asked(write):
    path = write('precious')
    pattern = DilationPattern({'a': LayerPattern([[1, 1]])}, 'edo')
    with pytest.raises(FileExistsError, match=r'pattern\.json exists'):
        pattern.save(path)
    assert path.read_text() == 'precious'
    pattern.save(path, overwrite=True)
    assert DilationPattern.load(path).layers == pattern.layers
    assert [entry.name for entry in path.parent.iterdir()] == ['pattern.json']


def test_failed_write_leaves_the_old_file(write):
    path = write('precious')
    pattern = DilationPattern({'a': LayerPattern([[1, 1]])}, 'edo', meta={'bad': object()})
    with pytest.raises(TypeError):
        pattern.save(path, overwrite=True)
    assert path.read_text() == 'precious'
    assert [entry.name for entry in path.parent.iterdir()] == ['pattern.json']


def test_smallest_file_loads(write):
    layer = {'dilations': [[1, 3, 2]]}
    path = write({'format': 'mmic.pattern', 'version': 1, 'method': 'x', 'layers': {'a': layer}})
    assert DilationPattern.load(path).layers['a'] == LayerPattern([[1, 3]] * 2)


@pytest.fixture
def warned(monkeypatch):
    """What is logged as a warning."""
    texts = []

    def log(text, logger=None, level=logging.INFO):
        assert (logger, level) == ('current', logging.WARNING)
        texts.append(text)

    monkeypatch.setattr('mmic.pattern.print_log', log)
    return texts


def layer_with(**changes):
    return document(layers={'a.conv2': {**LAYER, **changes}})


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'not a whole JSON file'),
        ('not JSON', 'not a whole JSON file'),
        (json.dumps(document())[:-20], 'not a whole JSON file'),
        ('[' * 100_000, 'nested deeper than 8'),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', 'NaN is not a number'),
        ([1, 2], 'a pattern file: expected an object, got list'),
        (document(format='other'), "format is 'other', expected 'mmic.pattern'"),
        (document(format='DROP'), 'format is None'),
        (document(version=2), 'version is 2, expected 1'),
        (document(version=True), 'version is True'),
        (document(version='1'), "version is '1'"),
        (document(layers='DROP'), "key 'layers' is missing"),
        (document(layers=[]), 'layers: expected an object, got list'),
        (document(extra=1), "unknown key 'extra'"),
        (document(stage_blocks=[3, 0]), r'stage_blocks.*\[3, 0\]'),
        (document(stage_blocks=3), 'stage_blocks: expected a list, got int'),
        (document(stage_blocks=[True, 4]), r'stage_blocks.*\[True, 4\]'),
        (document(meta=[1]), 'meta: expected an object, got list'),
        (document(method=3), 'method and scope are strings, got 3'),
        (layer_with(dilations=[[1, 1, 8], [0, 1, 1]]), "'a.conv2'.*from 1 to 255, got 0"),
        (layer_with(dilations=[[-1, 1, 8]]), "'a.conv2'.*got -1"),
        (layer_with(dilations=[[1.5, 1, 8]]), r"'a.conv2'.*integers.*\[1.5, 1, 8\]"),
        (layer_with(dilations=[[True, 1, 8]]), r"'a.conv2'.*integers.*\[True, 1, 8\]"),
        (layer_with(dilations=[['2', 1, 8]]), r"'a.conv2'.*integers.*\['2', 1, 8\]"),
        (layer_with(dilations=[[10**9, 1, 8]]), "'a.conv2'.*got 1000000000"),
        (layer_with(dilations=[[1, 1, 10**9]]), "'a.conv2'.*at most 65536 channels"),
        (layer_with(dilations=[[1, 1, 0]]), "'a.conv2'.*count is at least 1"),
        (layer_with(dilations=[[1, 1]]), "'a.conv2'.*d_h, d_w, count"),
        (layer_with(dilations=[]), r"'a.conv2'.*\(0, 2\)"),
        (layer_with(groups=3), "'a.conv2'.*8 output channels do not divide by 3 groups"),
        (layer_with(groups=8), "'a.conv2'.*4 input channels do not divide by 8 groups"),
        (layer_with(groups=0), "'a.conv2'.*groups.*got 0"),
        (layer_with(kernel_size=[3]), r"'a.conv2'.*kernel_size.*\[3\]"),
        (layer_with(kernel_size=3), "'a.conv2'.*kernel_size: expected a list, got int"),
        (layer_with(kernel_size=[2, 2]), r"'a.conv2'.*kernel_size.*odd.*\[2, 2\]"),
        (layer_with(kernel_size=[1, 1]), r"'a.conv2'.*kernel_size.*from 3 up.*\[1, 1\]"),
        (layer_with(kernel_size=[3, 5]), r"'a.conv2'.*kernel_size.*square.*\[3, 5\]"),
        (layer_with(kernel_size=[True, True]), r"'a.conv2'.*kernel_size.*\[True, True\]"),
        (layer_with(kernel_size=[3.0, 3.0]), r"'a.conv2'.*kernel_size.*\[3.0, 3.0\]"),
        (layer_with(kernel_size=[-3, -3]), r"'a.conv2'.*kernel_size.*\[-3, -3\]"),
        (layer_with(in_channels='4'), "'a.conv2'.*in_channels.*'4'"),
        (layer_with(dilation=1), "'a.conv2'.*unknown key 'dilation'"),
    ],
)
def test_broken_files_are_refused(write, content, message):
    path = write(content)
    with pytest.raises(PatternError, match=message) as caught:
        DilationPattern.load(path)
    assert str(path) in str(caught.value)


PAIRS = [[1, 1]] * 8


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: LayerPattern(PAIRS, 3), 'kernel_size: expected two positive integers, got 3'),
        (lambda: LayerPattern(PAIRS, (4, 4)), r'kernel_size: .* odd size from 3 up, got \(4, 4\)'),
        (lambda: LayerPattern(PAIRS, (1, 1)), r'kernel_size: .* odd size from 3 up, got \(1, 1\)'),
        (lambda: LayerPattern(PAIRS, (3, 5)), r'kernel_size: .* square .* got \(3, 5\)'),
        (lambda: LayerPattern(PAIRS, '33'), "kernel_size: .* got '33'"),
        (lambda: LayerPattern(5), r'dilations: expected pairs \(d_h, d_w\), got 5'),
        (lambda: LayerPattern('12'), "dilations: expected pairs .* got '12'"),
        (lambda: LayerPattern(PAIRS, groups=True), 'groups: .* got True'),
        (lambda: DilationPattern([1], 'edo'), r'layers: expected LayerPatterns by name, got \[1\]'),
        (lambda: DilationPattern({}, 'edo'), 'there are no layers in it'),
        (lambda: DilationPattern({1: LayerPattern(PAIRS)}, 'edo'), 'layer 1: a name is a string'),
        (lambda: DilationPattern({'a': PAIRS}, 'edo'), "layer 'a': expected a LayerPattern"),
        (lambda: a_pattern(stage_blocks=3), 'stage_blocks: .* list of positive integers, got 3'),
        (lambda: a_pattern(stage_blocks='34'), "stage_blocks: .* got '34'"),
        (lambda: a_pattern(stage_blocks=[True]), r'stage_blocks: .* got \[True\]'),
        (lambda: a_pattern(meta=5), 'meta: expected a dict, got 5'),
        (lambda: a_pattern(scope=None), "method and scope are strings, got 'edo' and None"),
        (lambda: a_pattern().part(5), 'part: expected a regular expression .* got 5'),
        (lambda: a_pattern().part('(a'), r"part: expected a regular expression .* got '\(a'"),
        (lambda: DilationPattern.load(123), r'expected the path of a pattern file.*123 \(int\)'),
        (lambda: DilationPattern.load(True), r'expected the path of a pattern file.*True \(bool\)'),
        (lambda: DilationPattern.load({'a': 1}), r"expected the path .* \{'a': 1\} \(dict\)"),
        (lambda: DilationPattern.from_published(None, ['a']), r'expected the path .*None \(None'),
        (lambda: DilationPattern.load(''), r"expected the path of a pattern file.*'' \(str\)"),
        (lambda: is_published(1.5), r'expected the path of a pattern file.*1.5 \(float\)'),
    ],
)
def test_wrong_values_in_python_are_refused(make, message):
    with pytest.raises(PatternError, match=message):
        make()


def a_pattern(**arguments):
    return DilationPattern({'a': LayerPattern(PAIRS)}, 'edo', **arguments)


def test_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(PatternError, match='is a folder; name a pattern file in it'):
        DilationPattern.load(tmp_path)


def test_numbers_that_no_reader_takes_are_not_written(tmp_path):
    with pytest.raises(ValueError, match='not JSON compliant'):
        a_pattern(meta={'error': float('nan')}).save(tmp_path / 'new' / 'x.json')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('wrong', [123, 1.5, True, ['a.json'], {'file': 'a.json'}])
def test_networks_say_what_they_expect_as_pattern(wrong):
    told = (
        'expected the path of a pattern file, or a DilationPattern, got .*' + type(wrong).__name__
    )
    with pytest.raises(PatternError, match=told):
        to_searched(nn.Sequential(nn.Conv2d(4, 8, 3)), wrong)
    models = pytest.importorskip('mmic.models')
    for network in (models.ICResNet, models.NATSResNet, models.CRResNet):
        with pytest.raises(PatternError, match=told):
            network(depth=50, base_channels=8, pattern=wrong)


@pytest.mark.parametrize('wrong', [123, True, None, '1214', {1: 2}])
def test_psconv_says_that_its_pattern_is_a_list(wrong):
    with pytest.raises(PatternError, match='pattern: expected a list of dilations, .* got '):
        PSConv2d(8, 8, 3, pattern=wrong)


def test_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / 'huge.json'
    with open(path, 'wb') as file:
        file.truncate(2**34)
    with pytest.raises(PatternError, match='17179869184 bytes'):
        DilationPattern.load(path)


def test_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.json.*edo_search'):
        DilationPattern.load(tmp_path / 'none.json')


def test_fits_only_the_network_it_is_for(write):
    pattern = DilationPattern.load(write(document()))
    pattern.check({'a.conv2': nn.Conv2d(4, 8, 3)})
    wrong = [
        ({'a.conv2': nn.Conv2d(4, 6, 3)}, "'a.conv2': output channels is 8 .* and 6"),
        ({'a.conv2': nn.Conv2d(4, 8, 5)}, r"'a.conv2': kernel_size is \(3, 3\) .* and \(5, 5\)"),
        ({'a.conv2': nn.Conv2d(8, 8, 3)}, "'a.conv2': in_channels is 4 .* and 8"),
        ({'a.conv2': nn.Conv2d(4, 8, 3, groups=2)}, "'a.conv2': groups is 1 .* and 2"),
        ({}, "layer 'a.conv2' of the file is not in the network"),
        (
            {'a.conv2': nn.Conv2d(4, 8, 3), 'b.conv2': nn.Conv2d(4, 8, 3)},
            "searched convolution 'b.conv2' is not in the file",
        ),
    ]
    for convs, message in wrong:
        with pytest.raises(PatternError, match=message) as caught:
            pattern.check(convs)
        assert pattern.source in str(caught.value)


def test_published_form(write):
    path = write([{'(0, 0)': 5, '(0, 3)': 0, '(2, 1)': 3}, {'(0,1)': 4}])
    assert is_published(path)
    pattern = DilationPattern.from_published(path, ['first', 'second'])
    assert pattern.layers['first'].dilations.tolist() == [[1, 1]] * 5 + [[3, 2]] * 3
    assert pattern.layers['second'].dilations.tolist() == [[1, 2]] * 4
    # Such a file tells neither C_in nor groups: any are accepted.
    pattern.check({'first': nn.Conv2d(8, 8, 3, groups=4), 'second': nn.Conv2d(2, 4, 3)})


def test_published_layers_with_groups_are_read_group_by_group(write, warned):
    """Each of two groups has half of the channels of every dilation."""
    path = write([{'(0, 0)': 4, '(0, 3)': 0, '(2, 1)': 2}, {'(0,1)': 4}])
    half = [[1, 1]] * 2 + [[3, 2]]
    told = DilationPattern.from_published(path, ['first', 'second'], {'first': 2, 'second': 1})
    assert told.layers['first'].dilations.tolist() == half * 2
    assert told.layers['first'].groups == 2
    assert told.layers['second'].dilations.tolist() == [[1, 2]] * 4
    convs = {'first': nn.Conv2d(8, 6, 3, groups=2), 'second': nn.Conv2d(2, 4, 3)}
    pattern = DilationPattern.from_published(path, convs)
    assert pattern.layers['first'].to_dict() == {**told.layers['first'].to_dict(), 'in_channels': 8}
    assert pattern.meta == {'layout': 'sorted', 'sorted_within': 'groups', 'file': 'pattern.json'}
    pattern.check(convs)
    assert not warned
    # Read without groups, its channels stand as in the authors' concatenation.
    DilationPattern.from_published(path, list(convs)).check(convs)
    assert "pattern.json: layer 'first' has 2 groups" in warned.pop()
    assert not warned
    with pytest.raises(PatternError, match=r"'first': '\(2, 1\)' has 2 channels, .* 4 groups"):
        DilationPattern.from_published(path, ['first', 'second'], {'first': 4})


@pytest.mark.parametrize(
    ('meta', 'layer', 'warns'),
    [
        ({'layout': 'sorted'}, {'groups': 2}, True),
        ({'layout': 'sorted', 'sorted_within': 'groups'}, {'groups': 2}, False),
        ({'layout': 'position'}, {'groups': 2}, False),
        ({'layout': 'sorted'}, {'groups': 1}, False),
        # There is one dilation, and nothing could be moved.
        ({'layout': 'sorted'}, {'groups': 2, 'dilations': [[1, 2, 8]]}, False),
    ],
)
def test_files_sorted_over_groups_are_read_with_one_warning(write, warned, meta, layer, warns):
    layers = {'first': LAYER, 'a.conv2': {**LAYER, **layer}, 'b.conv2': {**LAYER, **layer}}
    path = write(document(meta=meta, layers=layers))
    pattern = DilationPattern.load(path)
    assert pattern.layers['a.conv2'].groups == layer['groups']
    assert len(warned) == warns
    for text in warned:
        assert f"{path}: layer 'a.conv2' (and 1 more) has 2 groups" in text
        assert 'edo_search.py' in text


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([{'(0, 0)': 5}], '1 entries for a network of 2'),
        ([{'(0, 0)': 5}, {'0, 0': 5}], "'second'.*'0, 0'"),
        ([{'(0, 0)': 5}, {'(0, -1)': 5}], "'second'"),
        ([{'(0, 0)': 5}, {'(0, 999)': 5}], "'second'.*got 1000"),
        ([{'(0, 0)': 5}, {'(0, 0)': -1}], "'second'.*impossible count -1"),
        ([{'(0, 0)': 5}, {'(0, 0)': True}], "'second'.*impossible count True"),
        ([{'(0, 0)': 5}, {'(0, 0)': 10**9}], "'second'.*impossible count 1000000000"),
        ([{'(0, 0)': 5}, {'(0, 0)': 0}], r'\(0, 2\)'),
        ([{'(0, 0)': 5}, [1]], "'second'.*expected an object"),
        ({'a': 1}, 'expected a list, got dict'),
    ],
)
def test_broken_published_files_are_refused(write, content, message):
    path = write(content)
    with pytest.raises(PatternError, match=message) as caught:
        DilationPattern.from_published(path, ['first', 'second'])
    assert str(path) in str(caught.value)
