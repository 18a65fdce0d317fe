"""StageBranches, and paths through supernets: what runs, what is trained, what is refused."""

import random
from collections import Counter

import pytest
import torch
from torch import nn

from mmic.supernet import ChoiceConv2d, StageBranches
from mmic.supernet.paths import (
    check_path,
    choice_modules,
    default_path,
    path_weights,
    sample_path,
    set_path,
)

LENGTHS = (1, 3, 4)


def stage(length):
    """``length`` blocks; batch norm has random statistics and affine terms."""
    blocks = [
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        for _ in range(length)
    ]
    for block in blocks:
        block[1].running_mean.normal_()
        block[1].running_var.uniform_(0.5, 2)
        nn.init.normal_(block[1].bias)
    return nn.Sequential(*blocks).double()


def branches(share_prefix=False):
    torch.manual_seed(0)
    return StageBranches(LENGTHS, stage, 3, share_prefix)


def mixed_supernet():
    """Two stages and a convolution that have a choice, and two modules that have none."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 4, 1).double(),
        branches(),
        ChoiceConv2d(4, 4, 3, padding=1).double(),
        nn.BatchNorm2d(4).double(),
        branches(share_prefix=True),
    )


def saved_elements(network, x):
    """Elements that autograd keeps for the backward pass."""
    counts = []

    def keep(tensor):
        counts.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x)
    return sum(counts)


@pytest.mark.parametrize('share_prefix', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_a_choice_is_the_stage_of_that_length(share_prefix, training):
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    for length in LENGTHS:
        network = branches(share_prefix).train(training)
        alone = stage(length).train(training)
        alone.load_state_dict(network.weights_of(length))
        network.select(length)
        torch.testing.assert_close(network(x), alone(x))
        network(x).square().sum().backward()
        alone(x).square().sum().backward()
        kept = f'branches.{4 if share_prefix else length}.'
        mine = dict(network.named_parameters())
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(mine.pop(f'{kept}{name}').grad, parameter.grad)
        assert all(parameter.grad is None for parameter in mine.values())
        # Four parameters a block; 4 or 1 + 3 + 4 blocks in all.
        assert len(mine) == 4 * ((4 if share_prefix else 8) - length)


def test_a_choice_costs_the_memory_of_its_length():
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    for share_prefix in (False, True):
        network = branches(share_prefix)
        for length in LENGTHS:
            network.select(length)
            assert saved_elements(network, x) == saved_elements(stage(length), x)


def test_branches_are_independent_unless_the_prefix_is_shared():
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    for shared in (False, True):
        network = branches(shared).eval()
        assert sum(isinstance(part, nn.Conv2d) for part in network.modules()) == (
            4 if shared else 8
        )
        network.select(1)
        before = network(x)
        network.select(3)
        with torch.no_grad():
            for parameter in network.branch_of(3).parameters():
                parameter.add_(1)
        network.select(1)
        assert torch.equal(network(x), before) is not shared


def test_default_outside_the_lengths_is_refused():
    with pytest.raises(ValueError, match=r'2 is not among the choices \(1, 3, 4\)'):
        StageBranches(LENGTHS, stage, 2)


def test_initialisation_reaches_the_blocks():
    """mmengine's own stops at torch's containers."""
    from mmengine.model import BaseModule, Sequential

    class Block(BaseModule):
        def __init__(self):
            super().__init__(init_cfg=dict(type='Constant', layer='Conv2d', val=7.0))
            self.conv = nn.Conv2d(1, 1, 1)

    network = StageBranches((1, 2), lambda length: Sequential(*[Block() for _ in range(length)]), 1)
    network.init_weights()
    convs = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert [conv.weight.item() for conv in convs] == [7.0] * 3


def test_choices_are_found_in_network_order():
    network = mixed_supernet()
    assert list(choice_modules(network)) == ['1', '2', '4']
    assert default_path(network) == (3, 1, 3)
    with pytest.raises(ValueError, match=r"Conv2d has no choices.*search='stage'"):
        choice_modules(nn.Conv2d(1, 1, 1))


def test_a_path_sets_every_choice():
    network = mixed_supernet()
    set_path(network, [4, 2, 1])
    assert [network[place].choice for place in (1, 2, 4)] == [4, 2, 1]
    matched = check_path(network, (1, 3, 3))
    assert matched == [('1', network[1], 1), ('2', network[2], 3), ('4', network[4], 3)]
    assert network[1].choice == 4


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ([4, 2], r'has 3 entries, got \[4, 2\]'),
        ([4, 2, 1, 1], 'has 3 entries'),
        (7, 'has 3 entries, got 7'),
        (None, 'has 3 entries, got None'),
        ([4, 2, 2], r'path \[4, 2, 2\]: 4: 2 is not among the choices \(1, 3, 4\)'),
        ([0, 2, 1], r'1: 0 is not among the choices'),
        ([4, 4, 1], r'2: 4 is not among the choices \(1, 2, 3\)'),
        ([True, 2, 1], r'1: True is not among'),
        ([1.0, 2, 1], r'1: 1\.0 is not among'),
    ],
)
def test_a_bad_path_is_refused_and_none_of_it_is_set(path, message):
    network = mixed_supernet()
    with pytest.raises(ValueError, match=message):
        set_path(network, path)
    assert [network[place].choice for place in (1, 2, 4)] == [3, 1, 3]


def test_paths_are_drawn_uniformly_and_repeatably():
    network = mixed_supernet()
    draws = [sample_path(network, random.Random(seed)) for seed in range(3000)]
    assert draws == [sample_path(network, random.Random(seed)) for seed in range(3000)]
    counts = Counter(draws)
    assert len(counts) == 27
    # Chi-square with 26 degrees of freedom: above 54.05 in one of 1000 cases.
    expected = 3000 / 27
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 54.05
    # Drawing sets nothing.
    assert [network[place].choice for place in (1, 2, 4)] == [3, 1, 3]


def test_path_weights_are_the_stand_alone_networks():
    """The names are those of a network of plain stages and a searched convolution."""
    network = mixed_supernet().eval()
    state = path_weights(network, [3, 2, 1])
    by_hand = network.state_dict()
    expected = {'2.weight': by_hand['2.weights.1'], '2.bias': by_hand['2.bias']}
    expected['2.dilations'] = torch.full((4, 2), 2)
    for name, value in by_hand.items():
        parts = name.split('.')
        if parts[0] in ('0', '3'):
            expected[name] = value
        if parts[:3] == ['1', 'branches', '3']:
            expected['.'.join(['1', *parts[3:]])] = value
        if parts[:4] == ['4', 'branches', '4', '0']:
            expected['.'.join(['4', *parts[3:]])] = value
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    with pytest.raises(ValueError, match='2: 9 is not among'):
        path_weights(network, [3, 9, 1])
