"""Decoding alpha, against loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmic.models.inception import to_searched
from mmic.models.nats import to_mixed
from mmic.pattern import DilationPattern
from mmic.search.nats import decode, relative_entropy, search_network
from mmic.supernet import MixedConv2d

GENOTYPES = [1, 2, (1, 3), (3, 1)]
PAIRS = [(1, 1), (2, 2), (1, 3), (3, 1)]
SET_C = [(1, 1), (2, 2), (3, 3), (1, 3), (3, 1)]


def naive_winners(alpha):
    """Index of the largest value of each row, of equals the first."""
    return [row.index(max(row)) for row in alpha.tolist()]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_decode_is_the_naive_one(rows, per_group):
    alpha = torch.tensor(rows, dtype=torch.float32)
    winners = naive_winners(alpha)
    channels = len(rows) * per_group
    placed = decode(alpha, GENOTYPES, channels, 'position')
    assert placed.tolist() == [list(PAIRS[w]) for w in winners for _ in range(per_group)]
    # Eq. 5 and 6: C_out * I^g channels for each genotype, one after the other.
    expected = []
    for index, pair in enumerate(PAIRS):
        expected += [list(pair)] * (channels * winners.count(index) // len(rows))
    chosen = decode(alpha, GENOTYPES, channels)
    assert chosen.tolist() == expected
    assert chosen.dtype == torch.long


def test_example_of_the_paper():
    """Four groups of two channels: two on the first genotype, one on each of two others."""
    alpha = torch.tensor([[0.0, 5.0, 1.0], [3.0, 0.0, 1.0], [0.0, 0.0, 2.0], [9.0, 0.0, 1.0]])
    assert decode(alpha, [1, 2, 3], 8).tolist() == [[1, 1]] * 4 + [[2, 2]] * 2 + [[3, 3]] * 2


def test_sorted_keeps_channels_in_the_groups_of_the_convolution():
    """Three groups of four channels, alpha for two channels each: winners 3, 0, 1, 1, 2, 0."""
    alpha = 5 * torch.eye(4)[[3, 0, 1, 1, 2, 0]]
    chosen = decode(alpha, GENOTYPES, 12, groups=3).tolist()
    winners = [0, 0, 3, 3, 1, 1, 1, 1, 0, 0, 2, 2]
    assert chosen == [list(PAIRS[w]) for w in winners]


@pytest.mark.parametrize(
    ('alpha', 'options', 'told'),
    [
        (torch.zeros(2, 3), {}, r'shape \(N, 4\), one column a genotype; got \(2, 3\)'),
        (torch.zeros(4), {}, r'got \(4,\)'),
        (torch.zeros(0, 4), {}, r'got \(0, 4\)'),
        (torch.zeros(3, 4), {}, '3 groups do not divide 8 output channels'),
        (torch.zeros(2, 4), dict(groups=3), '3 groups do not divide 8 output channels'),
        (torch.full((2, 4), math.nan), {}, 'NaN or infinite values'),
        (torch.zeros(2, 4), dict(layout='any'), "layout must be one of .* got 'any'"),
    ],
)
def test_bad_input_of_decode(alpha, options, told):
    with pytest.raises(ValueError, match=told):
        decode(alpha, GENOTYPES, 8, **options)


def test_relative_entropy():
    assert relative_entropy(torch.zeros(3, 5)) == pytest.approx(1)
    assert relative_entropy(torch.eye(5) * 1000) == pytest.approx(0)
    assert relative_entropy(torch.zeros(3, 1)) == 0
    # One group even over two of four genotypes, one decided: (log 2 / log 4 + 0) / 2.
    alpha = torch.tensor([[0.0, 0.0, -1e4, -1e4], [1e4, 0.0, 0.0, 0.0]])
    assert relative_entropy(alpha) == pytest.approx(0.25)


def make_supernet():
    network = nn.Sequential()
    network.add_module('stem', nn.Conv2d(3, 8, 1))
    network.add_module('body', nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()))
    network.add_module('head', nn.Conv2d(8, 4, 3, padding=1, groups=2))
    return to_mixed(network, GENOTYPES, num_groups=2)


@pytest.mark.parametrize('layout', ['sorted', 'position'])
def test_pattern_of_a_network(tmp_path, layout):
    torch.manual_seed(0)
    supernet = make_supernet()
    for conv in (supernet.body[0], supernet.head):
        nn.init.normal_(conv.alpha)
    pattern, reports = search_network(supernet, layout, meta={'checkpoint': 'x.pth'})
    pattern.save(tmp_path / 'pattern.json')
    read = DilationPattern.load(tmp_path / 'pattern.json')
    assert list(read.layers) == ['body.0', 'head'] == [report.name for report in reports]
    assert (read.method, read.meta['layout'], read.meta['checkpoint']) == ('nats', layout, 'x.pth')
    assert read.meta.get('sorted_within') == ('groups' if layout == 'sorted' else None)
    assert read.meta['num_groups'] == {'body.0': 2, 'head': 2}
    for name, conv in (('body.0', supernet.body[0]), ('head', supernet.head)):
        winners = naive_winners(conv.alpha)
        # In the head each channel group is a group of the convolution, and stays where it is.
        if layout == 'sorted' and conv.groups == 1:
            winners = sorted(winners)
        wanted = [list(PAIRS[w]) for w in winners for _ in range(conv.out_channels // 2)]
        assert read.layers[name].dilations.tolist() == wanted
        assert read.layers[name].groups == conv.groups
    plain = nn.Sequential()
    plain.add_module('stem', nn.Conv2d(3, 8, 1))
    plain.add_module('body', nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()))
    plain.add_module('head', nn.Conv2d(8, 4, 3, padding=1, groups=2))
    searched = to_searched(plain, tmp_path / 'pattern.json')
    assert searched.body[0].dilations.tolist() == read.layers['body.0'].dilations.tolist()


def test_networks_without_supernet_layers_are_refused():
    with pytest.raises(ValueError, match='holds no supernet layers'):
        search_network(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="no part 'neck'"):
        search_network(make_supernet(), scope='neck')
    supernet = make_supernet()
    nn.init.constant_(supernet.head.alpha, math.nan)
    with pytest.raises(ValueError, match="'head': alpha holds NaN"):
        search_network(supernet)


class Teacher(nn.Module):
    """Dilated convolutions, one dilation for each group of two channels."""

    def __init__(self, generator):
        super().__init__()
        self.winners = torch.randint(0, len(SET_C), (20,), generator=generator).tolist()
        self.weight = torch.randn(40, 4, 3, 3, generator=generator)

    def forward(self, x):
        rows = []
        for group, winner in enumerate(self.winners):
            pair = SET_C[winner]
            weight = self.weight[2 * group : 2 * group + 2]
            rows.append(nn.functional.conv2d(x, weight, None, 1, pair, pair))
        return torch.cat(rows, 1)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_search_recovers_the_genotypes_of_a_teacher(seed):
    """Bilevel steps as in a search: weights on one half of the data, alpha on the other."""
    generator = torch.Generator().manual_seed(seed)
    teacher = Teacher(generator)
    torch.manual_seed(seed)
    plain = nn.Conv2d(4, 40, 3, padding=1, bias=False)
    student = MixedConv2d.from_conv(plain, genotypes=SET_C, num_groups=20)
    nn.init.normal_(student.alpha, std=0.5)
    weights = torch.optim.SGD(student.weights.parameters(), lr=0.3, momentum=0.9)
    alpha = torch.optim.Adam([student.alpha], lr=0.05)

    def right():
        found = naive_winners(student.alpha)
        return sum(a == b for a, b in zip(found, teacher.winners)) / len(found)

    assert right() < 0.5  # by chance 0.2
    for _ in range(300):
        for optimizer in (weights, alpha):
            x = torch.randn(4, 4, 12, 12, generator=generator)
            student.zero_grad()
            nn.functional.mse_loss(student(x), teacher(x)).backward()
            optimizer.step()
    assert right() >= 0.95
