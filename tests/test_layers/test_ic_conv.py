"""ICConv2d against the dense embedding of its weights, and as a citizen of torch."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmic.layers import ICConv2d
from mmic.pattern import PatternError


def embed(weight, dilations):
    """Naive loop: every filter's taps where its dilation puts them, zeros elsewhere."""
    out_channels, depth, size, _ = weight.shape
    radius, largest = size // 2, int(dilations.max())
    side = 2 * radius * largest + 1
    dense = weight.new_zeros(out_channels, depth, side, side)
    for channel, (d_h, d_w) in enumerate(dilations.tolist()):
        for u, v in itertools.product(range(-radius, radius + 1), repeat=2):
            row, column = side // 2 + u * d_h, side // 2 + v * d_w
            dense[channel, :, row, column] = weight[channel, :, u + radius, v + radius]
    return dense


def reference(x, conv):
    """One dense convolution of the embedded weights."""
    size = conv.kernel_size[0]
    extra = size // 2 * (int(conv.dilations.max()) - 1)
    padding = [pad + extra for pad in conv.padding]
    dense = embed(conv.weight, conv.dilations)
    return F.conv2d(x, dense, conv.bias, conv.stride, padding, 1, conv.groups)


def assert_equal_to_reference(conv, x):
    """Compare outputs and the gradients of input, weight and bias."""
    x = x.requires_grad_()
    leaves = [x, conv.weight] + ([conv.bias] if conv.bias is not None else [])
    expected, output = reference(x, conv), conv(x)
    assert output.shape == expected.shape
    torch.testing.assert_close(output, expected)
    seed = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, leaves, seed)
    got = torch.autograd.grad(output, leaves, seed)
    for mine, theirs in zip(got, wanted):
        torch.testing.assert_close(mine, theirs)


def random_dilations(channels, d_max, layout):
    dilations = torch.randint(1, d_max + 1, (channels, 2))
    if layout == 'sorted':
        dilations = torch.tensor(sorted(dilations.tolist()))
    return dilations


@pytest.mark.parametrize('layout', ['sorted', 'position'])
@pytest.mark.parametrize('groups', [1, 4, 16])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [3, 5])
def test_equals_dense_embedding(size, stride, groups, layout):
    torch.manual_seed(0)
    dilations = random_dilations(32, 4, layout)
    conv = ICConv2d(16, 32, size, stride, size // 2, groups=groups, dilations=dilations).double()
    assert_equal_to_reference(conv, torch.randn(2, 16, 11, 14, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_dense_embedding_in_any_case(data):
    """Sizes below the dilated kernel's, any padding and channel counts, one to all dilations."""
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    groups = draw(st.sampled_from([1, 2, 3]))
    inputs, outputs = (groups * draw(st.integers(1, 4)) for _ in range(2))
    size = draw(st.sampled_from([3, 5]))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    layout = draw(st.sampled_from(['sorted', 'position']))
    dilations = random_dilations(outputs, draw(st.integers(1, 4)), layout)
    conv = ICConv2d(
        inputs, outputs, size, stride, padding, 1, groups, draw(st.booleans()), dilations=dilations
    ).double()
    height, width = (draw(st.integers(max(1, size - 2 * pad), size + 6)) for pad in padding)
    batch = draw(st.integers(0, 2))
    assert_equal_to_reference(conv, torch.randn(batch, inputs, height, width).double())


def test_all_dilations_present():
    dilations = torch.tensor(list(itertools.product(range(1, 5), repeat=2)))[torch.randperm(16)]
    conv = ICConv2d(4, 16, 3, padding=1, dilations=dilations).double()
    assert_equal_to_reference(conv, torch.randn(1, 4, 5, 3).double())


@pytest.mark.parametrize('groups', [1, 4, 8])
def test_all_dilations_one_is_conv2d_to_the_bit(groups):
    conv = ICConv2d(8, 16, 3, 2, 1, groups=groups, dilations=torch.ones(16, 2).long())
    x = torch.randn(2, 8, 9, 9, requires_grad=True)
    expected = F.conv2d(x, conv.weight, conv.bias, 2, 1, 1, groups)
    assert torch.equal(conv(x), expected)
    wanted = torch.autograd.grad(expected.square().sum(), [x, conv.weight, conv.bias])
    got = torch.autograd.grad(conv(x).square().sum(), [x, conv.weight, conv.bias])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, wanted))


@pytest.mark.parametrize('padding', ['same', 'valid'])
def test_named_padding_keeps_the_plain_output_size(padding):
    conv = ICConv2d(3, 4, 5, padding=padding, dilations=[[1, 1], [2, 1], [1, 3], [2, 2]])
    x = torch.randn(1, 3, 9, 8)
    assert conv(x).shape == nn.Conv2d(3, 4, 5, padding=padding)(x).shape


def test_gradcheck():
    conv = ICConv2d(4, 6, 3, 2, 1, groups=2, dilations=random_dilations(6, 3, 'position')).double()
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight, bias: torch.func.functional_call(
            conv, {'weight': weight, 'bias': bias}, (x,)
        ),
        (x, conv.weight, conv.bias),
    )


@pytest.fixture
def mixed_conv():
    torch.manual_seed(0)
    dilations = [[1, 1]] * 3 + [[2, 1]] * 3 + [[1, 2], [3, 3]]
    return ICConv2d(4, 8, 3, padding=1, dilations=dilations)


def test_autocast_runs_in_low_precision(mixed_conv):
    x = torch.randn(2, 4, 9, 9)
    with torch.autocast('cpu', torch.bfloat16):
        low = mixed_conv(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), reference(x, mixed_conv), rtol=0.05, atol=0.05)


def test_channels_last_is_kept(mixed_conv):
    x = torch.randn(2, 4, 9, 9)
    conv = copy.deepcopy(mixed_conv).to(memory_format=torch.channels_last)
    output = conv(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, mixed_conv(x))


def test_non_contiguous_input(mixed_conv):
    x = torch.randn(2, 9, 12, 4).permute(0, 3, 1, 2)[:, :, ::2, 1::2]
    torch.testing.assert_close(mixed_conv(x), reference(x, mixed_conv))


def test_compiles_whole_and_equals_eager(mixed_conv):
    x = torch.randn(1, 4, 8, 8)
    compiled = torch.compile(mixed_conv, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), mixed_conv(x))


def test_exports_and_equals_eager(mixed_conv):
    x = torch.randn(1, 4, 8, 8)
    exported = torch.export.export(mixed_conv, (x,))
    program = exported.module() if hasattr(exported, 'module') else exported
    torch.testing.assert_close(program(x), mixed_conv(x))


def test_moves_and_copies_with_its_buffers(mixed_conv):
    x = torch.randn(1, 4, 6, 6)
    twin = copy.deepcopy(mixed_conv).double()
    assert twin.dilations.dtype == torch.int64
    torch.testing.assert_close(twin(x.double()).float(), mixed_conv(x))


def test_plain_checkpoint_loads_strictly(mixed_conv):
    plain = nn.Conv2d(4, 8, 3, padding=1)
    result = mixed_conv.load_state_dict(plain.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert torch.equal(mixed_conv.weight, plain.weight)


def test_own_checkpoint_round_trip(mixed_conv):
    assert set(mixed_conv.state_dict()) == {'weight', 'bias', 'dilations'}
    twin = ICConv2d(4, 8, 3, padding=1, dilations=mixed_conv.dilations)
    twin.load_state_dict(mixed_conv.state_dict())
    x = torch.randn(1, 4, 7, 7)
    assert torch.equal(twin(x), mixed_conv(x))


@pytest.mark.parametrize('strict', [True, False])
def test_checkpoint_of_another_pattern_is_refused(mixed_conv, strict):
    other = mixed_conv.dilations.clone()
    other[5] = torch.tensor([4, 1])
    network = nn.ModuleDict({'stage': ICConv2d(4, 8, 3, padding=1, dilations=other)})
    state = {f'stage.{key}': value for key, value in mixed_conv.state_dict().items()}
    with pytest.raises(PatternError, match=r"'stage'.*channel 5 .*\(2, 1\).*\(4, 1\)"):
        network.load_state_dict(state, strict=strict)


def test_supernet_checkpoint_is_refused(mixed_conv):
    state = nn.Conv2d(4, 8, 9).state_dict()
    with pytest.raises(PatternError, match='9x9 kernel.*--init-weights'):
        mixed_conv.load_state_dict(state, strict=False)


@pytest.mark.parametrize(
    ('dilations', 'message'),
    [
        ([[1, 1]] * 3, '3 dilations for 4 output channels'),
        ([[1, 0]] * 4, 'from 1 to 255, got 0'),
        ([[1, -1]] * 4, 'got -1'),
        ([[1, 10**9]] * 4, 'got 1000000000'),
        ([[1, 1.5]] * 4, 'pairs of integers'),
        ([[1, True]] * 4, 'pairs of integers'),
        ([[1, '2']] * 4, 'pairs of integers'),
        ([1, 1, 1, 1], 'pairs of integers'),
        (torch.ones(4, 2), 'integer tensor, got torch.float32'),
        (torch.ones(4, 2, dtype=torch.bool), 'integer tensor, got torch.bool'),
        (torch.ones(4, 3, dtype=torch.long), r'shape \(C_out, 2\), got \(4, 3\)'),
        (torch.zeros(0, 2, dtype=torch.long), r'got \(0, 2\)'),
    ],
)
def test_impossible_dilations_are_refused(dilations, message):
    with pytest.raises(PatternError, match=message):
        ICConv2d(4, 4, 3, dilations=dilations)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'kernel_size': 4}, r'odd size.*\(4, 4\)'),
        ({'kernel_size': 1}, r'from 3 up.*\(1, 1\)'),
        ({'kernel_size': (3, 5)}, r'square.*\(3, 5\)'),
        ({'kernel_size': 3, 'dilation': 2}, r'dilation=\(2, 2\)'),
        ({'kernel_size': 3, 'padding_mode': 'reflect'}, "zeros.*'reflect'"),
    ],
)
def test_base_convolutions_without_a_choice_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ICConv2d(4, 4, **arguments, dilations=torch.ones(4, 2).long())


# A convolution that has a dilation of its own


def test_dilations_multiply_those_of_the_convolution():
    """A stage without its stride computes, where the stride would have looked, what it did."""
    torch.manual_seed(0)
    found = torch.randint(1, 4, (6, 2))
    strided = nn.Conv2d(4, 6, 3, padding=1).double()
    dilated = nn.Conv2d(4, 6, 3, padding=2, dilation=2).double()
    dilated.load_state_dict(strided.state_dict())
    layer = ICConv2d.from_conv(dilated, found)
    assert layer.dilations.tolist() == [[2 * h, 2 * w] for h, w in found.tolist()]
    assert (layer.padding, layer.base_dilation) == ((1, 1), (2, 2))
    # Its input at half the resolution is every second row and column.
    x = torch.randn(2, 4, 16, 20).double()
    expected = ICConv2d.from_conv(strided, found)(x[:, :, ::2, ::2])
    torch.testing.assert_close(layer(x)[:, :, ::2, ::2], expected)
    assert layer(x).shape == dilated(x).shape


@pytest.mark.parametrize('given', ['its own', 'undilated'])
def test_weights_trained_with_the_stride_are_loaded(given):
    found = torch.tensor([[1, 2], [3, 1], [2, 2]])
    layer = ICConv2d.from_conv(nn.Conv2d(2, 3, 3, padding=2, dilation=2), found)
    source = ICConv2d.from_conv(nn.Conv2d(2, 3, 3, padding=1), found * (1 + (given == 'its own')))
    layer.load_state_dict(source.state_dict())
    assert torch.equal(layer.weight, source.weight)
    assert layer.dilations.tolist() == [[2, 4], [6, 2], [4, 4]]
    other = ICConv2d.from_conv(nn.Conv2d(2, 3, 3, padding=1), [[1, 2], [3, 1], [2, 1]])
    with pytest.raises(PatternError, match='another dilation pattern'):
        layer.load_state_dict(other.state_dict())


def test_padding_that_does_not_cover_the_dilation_is_refused():
    with pytest.raises(ValueError, match=r'dilation=\(2, 2\) with padding=\(0, 0\)'):
        ICConv2d.from_conv(nn.Conv2d(2, 3, 3, dilation=2), [[1, 1]] * 3)
