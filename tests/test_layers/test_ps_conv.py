"""PSConv2d against the sum over dilations that defines it, and as a citizen of torch."""

import copy
import itertools
import weakref
from collections import Counter
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmic.layers import PSConv2d, branches, cycle
from mmic.layers.ps_conv import AXES, FORMS, dilation_matrix
from mmic.pattern import PatternError

PATTERNS = {1: (2,), 2: (1, 2), 4: (1, 2, 1, 4), 8: (1, 2, 1, 1, 1, 3, 1, 4)}


def naive_dilations(pattern, in_channels, out_channels, groups=1, axes='both'):
    """D by loops over the kernels, from the paper's sections 3.2, 4.2 and appendix A."""
    t, depth, per_group = len(pattern), in_channels // groups, out_channels // groups
    rows = []
    for channel in range(out_channels):
        group, c = divmod(channel, per_group)
        row = []
        for k in range(depth):
            place = {'both': k - c, 'input': k, 'output': c, 'group': group}[axes]
            row.append(pattern[place % t])
        rows.append(row)
    return torch.tensor(rows)


def reference(x, conv):
    """Eq. 3: the sum over dilations r of ``conv2d(F, G * (D == r), dilation=r)``."""
    channels = (conv.in_channels, conv.out_channels)
    dilations = naive_dilations(conv.pattern, *channels, conv.groups, conv.axes)
    radius = conv.kernel_size[0] // 2
    total = 0
    for rate in dilations.unique().tolist():
        weight = conv.weight * (dilations == rate)[:, :, None, None]
        padding = [pad + radius * (rate - 1) for pad in conv.padding]
        total = total + F.conv2d(x, weight, None, conv.stride, padding, rate, conv.groups)
    return total if conv.bias is None else total + conv.bias[:, None, None]


def assert_equal_to_reference(conv, x):
    """Compare outputs and the gradients of input, weight and bias, in both forms."""
    x = x.requires_grad_()
    leaves = [x, conv.weight] + ([conv.bias] if conv.bias is not None else [])
    expected = reference(x, conv)
    seed = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, leaves, seed)
    for conv.form in FORMS:
        output = conv(x)
        assert output.shape == expected.shape
        torch.testing.assert_close(output, expected)
        got = torch.autograd.grad(output, leaves, seed)
        for mine, theirs in zip(got, wanted):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize('axes', AXES)
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('divisible', [True, False])
@pytest.mark.parametrize('groups', [1, 2, 32])
@pytest.mark.parametrize('t', PATTERNS)
def test_equals_the_sum_over_dilations(t, groups, divisible, stride, axes):
    torch.manual_seed(0)
    inputs, outputs = (t, 2 * t) if divisible else (t + 1, 2 * t + 1)
    conv = PSConv2d(
        groups * inputs,
        groups * outputs,
        3,
        stride,
        1,
        groups=groups,
        pattern=PATTERNS[t],
        axes=axes,
    ).double()
    assert_equal_to_reference(conv, torch.randn(1, groups * inputs, 6, 7).double())


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('pattern', [(1, 2, 3, 2), (2, 1, 2, 3), (1, 3, 2, 3)])
def test_equals_the_sum_where_no_order_of_channels_suits_all_dilations(pattern, groups):
    """The first dilation's outputs have to be put in order, and only then get the bias."""
    torch.manual_seed(0)
    conv = PSConv2d(5 * groups, 6 * groups, 3, groups=groups, pattern=pattern).double()
    assert any(term.reorder is not None for term in conv._plan.terms)
    assert_equal_to_reference(conv, torch.randn(1, 5 * groups, 9, 8).double())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_the_sum_over_dilations_in_any_case(data):
    """Any cycle, also one longer than a group's channels where the axis allows it."""
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    axes = draw(st.sampled_from(AXES))
    pattern = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    groups = draw(st.sampled_from([1, 2, 3]))
    shortest = len(pattern) if axes in ('both', 'input') else 1
    inputs = groups * (shortest + draw(st.integers(0, 4)))
    outputs = groups * draw(st.integers(1, 7))
    size = draw(st.sampled_from([3, 5]))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    conv = PSConv2d(
        inputs,
        outputs,
        size,
        stride,
        padding,
        1,
        groups,
        draw(st.booleans()),
        pattern=pattern,
        axes=axes,
    ).double()
    height, width = (draw(st.integers(max(1, size - 2 * pad), size + 6)) for pad in padding)
    batch = draw(st.integers(0, 2))
    assert_equal_to_reference(conv, torch.randn(batch, inputs, height, width).double())


def test_dilations_of_the_papers_example():
    """Figure 2: 16 channels in and out, 4 partitions, the pattern {1, 2, 1, 4}."""
    rows = PSConv2d(16, 16, 3).dilations.tolist()
    assert len(rows) == 16
    for channel, expected in zip(range(16), itertools.cycle(['1214', '4121', '1412', '2141'])):
        assert ''.join(map(str, rows[channel])) == expected * 4, channel


@pytest.mark.parametrize('axes', AXES)
@pytest.mark.parametrize(('inputs', 'outputs', 'groups'), [(16, 16, 1), (20, 12, 2), (9, 7, 1)])
def test_dilations_equal_the_loop(inputs, outputs, groups, axes):
    pattern = (1, 2, 3, 4)
    expected = naive_dilations(pattern, inputs, outputs, groups, axes)
    assert torch.equal(dilation_matrix(pattern, inputs, outputs, groups, axes), expected)


@pytest.mark.parametrize('pattern', [(1, 2, 1, 4), (1, 2, 3, 4), (1, 2)])
def test_each_row_and_column_holds_the_whole_cycle(pattern):
    inputs, outputs, t = 16, 24, len(pattern)
    dilations = dilation_matrix(pattern, inputs, outputs)
    for lines in (dilations, dilations.T):
        for line in lines.tolist():
            assert Counter(line) == Counter(pattern * (len(line) // t))
    # Each filter has the former's dilations, shifted by one channel.
    assert torch.equal(dilations[1:, 1:], dilations[:-1, :-1])
    assert torch.equal(dilations[:, t:], dilations[:, :-t])


def test_default_pattern_is_half_1_a_quarter_2_a_quarter_4():
    dilations = PSConv2d(32, 64, 3).dilations
    assert Counter(dilations.flatten().tolist()) == {1: 1024, 2: 512, 4: 512}


def test_the_cycle_starts_anew_in_each_group():
    """Figure 2, right."""
    grouped, one = dilation_matrix((1, 2, 1, 4), 16, 16, 2), dilation_matrix((1, 2, 1, 4), 8, 8)
    assert torch.equal(grouped[:8], one)
    assert torch.equal(grouped[8:], one)


def test_depthwise_groups_take_the_cycle_in_turn():
    """Appendix A: one pattern across t groups."""
    conv = PSConv2d(8, 16, 3, padding=1, groups=8, axes='group')
    assert conv.dilations.flatten().tolist() == [1, 1, 2, 2, 1, 1, 4, 4] * 2


def test_one_dilation_is_the_dilated_convolution():
    """Paper, section 3.2: with as many partitions as channels."""
    conv = PSConv2d(6, 8, 3, padding=1, pattern=(3,))
    x = torch.randn(1, 6, 9, 9)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, 1, 3, 3))


@pytest.mark.parametrize('axes', AXES)
@pytest.mark.parametrize('groups', [1, 2])
def test_pattern_of_ones_is_conv2d_to_the_bit(groups, axes):
    conv = PSConv2d(8, 16, 3, 2, 1, groups=groups, pattern=(1, 1, 1, 1), axes=axes)
    x = torch.randn(2, 8, 9, 9, requires_grad=True)
    expected = F.conv2d(x, conv.weight, conv.bias, 2, 1, 1, groups)
    assert torch.equal(conv(x), expected)
    wanted = torch.autograd.grad(expected.square().sum(), [x, conv.weight, conv.bias])
    got = torch.autograd.grad(conv(x).square().sum(), [x, conv.weight, conv.bias])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, wanted))


def convolutions_run(conv, x):
    """``(dilation, groups, multiply-adds)`` of each convolution that a layer runs."""
    runs = []

    def spy(x, weight, bias, stride, padding, dilation, groups):
        output = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        runs.append((dilation[0], groups, weight.numel() * output.shape[2:].numel()))
        return output

    functions = mock.Mock(conv2d=spy)
    with mock.patch.object(branches, 'F', functions), mock.patch.object(cycle, 'F', functions):
        conv(x)
    return runs


@pytest.mark.parametrize('groups', [1, 2])
def test_the_paper_pattern_is_three_grouped_convolutions(groups):
    """Appendix B: rate 1 stands in two of the four places and is dense over half the inputs."""
    conv = PSConv2d(16, 32, 3, padding=1, groups=groups)
    runs = convolutions_run(conv, torch.randn(1, 16, 6, 6))
    plain = conv.weight.numel() * 36
    assert [run[:2] for run in runs] == [(1, 2 * groups), (2, 4 * groups), (4, 4 * groups)]
    assert [run[2] for run in runs] == [plain // 2, plain // 4, plain // 4]


@pytest.mark.parametrize('axes', AXES)
@pytest.mark.parametrize(('inputs', 'outputs', 'groups'), [(8, 8, 1), (9, 7, 1), (20, 12, 2)])
def test_block_form_costs_the_plain_multiply_adds(inputs, outputs, groups, axes):
    pytest.importorskip('mmengine')
    from mmengine.analysis import get_model_complexity_info

    conv = PSConv2d(inputs, outputs, 3, 2, 1, groups=groups, axes=axes)
    runs = convolutions_run(conv, torch.randn(1, inputs, 12, 10))
    assert sum(run[2] for run in runs) == conv.weight.numel() * 6 * 5
    plain = nn.Conv2d(inputs, outputs, 3, 2, 1, groups=groups)
    mine, theirs = (get_model_complexity_info(c, (inputs, 12, 10)) for c in (conv, plain))
    assert mine['params'] == theirs['params']
    assert mine['flops'] == theirs['flops']


@pytest.mark.parametrize('padding', ['same', 'valid'])
def test_named_padding_keeps_the_plain_output_size(padding):
    conv = PSConv2d(4, 4, 5, padding=padding)
    x = torch.randn(1, 4, 9, 8)
    assert conv(x).shape == nn.Conv2d(4, 4, 5, padding=padding)(x).shape


@pytest.mark.parametrize('axes', ['both', 'output'])
def test_gradcheck(axes):
    torch.manual_seed(0)
    conv = PSConv2d(6, 4, 3, 2, 1, groups=2, pattern=(1, 3, 2), axes=axes).double()
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight, bias: torch.func.functional_call(
            conv, {'weight': weight, 'bias': bias}, (x,)
        ),
        (x, conv.weight, conv.bias),
    )


@pytest.fixture(params=FORMS)
def conv(request):
    torch.manual_seed(0)
    return PSConv2d(8, 12, 3, padding=1, form=request.param)


def test_autocast_runs_in_low_precision(conv):
    x = torch.randn(2, 8, 9, 9)
    with torch.autocast('cpu', torch.bfloat16):
        low = conv(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), reference(x, conv), rtol=0.05, atol=0.05)


def test_channels_last_is_kept(conv):
    x = torch.randn(2, 8, 9, 9)
    twin = copy.deepcopy(conv).to(memory_format=torch.channels_last)
    output = twin(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, conv(x))


def test_non_contiguous_input(conv):
    x = torch.randn(2, 9, 12, 8).permute(0, 3, 1, 2)[:, :, ::2, 1::2]
    torch.testing.assert_close(conv(x), reference(x, conv))


def test_empty_batch_has_gradients(conv):
    output = conv(torch.randn(0, 8, 9, 9))
    assert output.shape == (0, 12, 9, 9)
    output.sum().backward()
    assert torch.equal(conv.weight.grad, torch.zeros_like(conv.weight))


def test_compiles_whole_and_equals_eager(conv):
    x = torch.randn(1, 8, 8, 8)
    torch._dynamo.reset()  # other tests compile the same code for other shapes
    compiled = torch.compile(conv, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), conv(x))


def test_exports_and_equals_eager(conv):
    x = torch.randn(1, 8, 8, 8)
    exported = torch.export.export(conv, (x,))
    program = exported.module() if hasattr(exported, 'module') else exported
    torch.testing.assert_close(program(x), conv(x))


def test_moves_and_copies_with_its_buffers(conv):
    x = torch.randn(1, 8, 6, 6)
    twin = copy.deepcopy(conv).double()
    assert twin.dilations.dtype == torch.int64
    torch.testing.assert_close(twin(x.double()).float(), conv(x))


def test_is_built_without_values_on_the_meta_device():
    with torch.device('meta'):
        conv = PSConv2d(8, 8, 3, padding=1)
        assert conv(torch.empty(2, 8, 6, 6)).shape == (2, 8, 6, 6)


def test_from_conv_keeps_weights_and_arguments():
    plain = nn.Conv2d(16, 8, 5, 2, (2, 1), groups=2, bias=False)
    conv = PSConv2d.from_conv(plain, pattern=(1, 3), axes='input', form='sum')
    assert torch.equal(conv.weight, plain.weight)
    assert conv.bias is None
    assert (conv.pattern, conv.axes, conv.form) == ((1, 3), 'input', 'sum')
    x = torch.randn(1, 16, 9, 9)
    assert conv(x).shape == plain(x).shape
    torch.testing.assert_close(conv(x), reference(x, conv))


def test_plain_checkpoint_loads_strictly(conv):
    plain = nn.Conv2d(8, 12, 3, padding=1)
    result = conv.load_state_dict(plain.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert torch.equal(conv.weight, plain.weight)


def test_own_checkpoint_round_trip(conv):
    assert set(conv.state_dict()) == {'weight', 'bias', 'dilations'}
    # A form is a way of computing; the checkpoint is the same.
    twin = PSConv2d(8, 12, 3, padding=1)
    twin.load_state_dict(conv.state_dict())
    x = torch.randn(1, 8, 7, 7)
    torch.testing.assert_close(twin(x), conv(x))


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'pattern': (1, 1, 2, 4)}, r'channel 0 .*\(1, 2, 1, 4, 1, 2.* and \(1, 1, 2, 4,'),
        ({'axes': 'input'}, r'channel 1 .*\(4, 1, 2, 1, .* and \(1, 2, 1, 4,'),
    ],
)
def test_checkpoint_of_another_pattern_is_refused(conv, options, message, strict):
    network = nn.ModuleDict({'stage': PSConv2d(8, 12, 3, padding=1, **options)})
    state = {f'stage.{key}': value for key, value in conv.state_dict().items()}
    with pytest.raises(PatternError, match=f"'stage'.*another dilation pattern.*{message}"):
        network.load_state_dict(state, strict=strict)


def test_refusal_of_a_wide_layers_checkpoint_is_short():
    trained, other = PSConv2d(512, 4, 3), PSConv2d(512, 4, 3, pattern=(1, 2))
    with pytest.raises(PatternError) as error:
        other.load_state_dict(trained.state_dict())
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ((), 'at least one dilation'),
        ((1, 0), r'pattern \(1, 0\).*from 1 to 255, got 0'),
        ((1, -2), 'got -2'),
        ((1, 1000), 'got 1000'),
        ((1, 1.5), r'integers, got \(1, 1.5\)'),
        ((1, True), r'integers, got \(1, True\)'),
        ((1, '2'), "integers, got .1, '2'."),
        ((1, None), 'integers, got'),
    ],
)
def test_impossible_patterns_are_refused(pattern, message):
    with pytest.raises(PatternError, match=message):
        PSConv2d(8, 8, 3, pattern=pattern)


@pytest.mark.parametrize('axes', ['both', 'input'])
@pytest.mark.parametrize('depth', [1, 2, 3])
def test_fewer_inputs_in_a_group_than_the_pattern_are_refused(depth, axes):
    with pytest.raises(PatternError, match=f"pattern of 4 .*got {depth}.*axes='group'"):
        PSConv2d(8 * depth, 8, 3, groups=8, axes=axes)
    PSConv2d(8 * 4, 8, 3, groups=8, axes=axes)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'kernel_size': 4}, r'odd size.*\(4, 4\)'),
        ({'kernel_size': 1}, r'from 3 up.*\(1, 1\)'),
        ({'kernel_size': (3, 5)}, r'square.*\(3, 5\)'),
        ({'kernel_size': 3, 'dilation': 2}, r'dilation=\(2, 2\)'),
        ({'kernel_size': 3, 'padding_mode': 'reflect'}, "zeros.*'reflect'"),
        ({'kernel_size': 3, 'axes': 'all'}, "axes must be one of .*'both'.*got 'all'"),
        ({'kernel_size': 3, 'form': 'fast'}, "form must be one of .*'block'.*got 'fast'"),
    ],
)
def test_what_psconv_cannot_do_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PSConv2d(8, 8, **arguments)


def test_what_is_gathered_is_not_kept_for_the_backward_pass(monkeypatch):
    """Three convolutions read the input in three orders; autograd keeps the input alone."""
    made = []

    def spy(function):
        def copy(*arguments):
            made.append(weakref.ref(result := function(*arguments)))
            return result

        return copy

    monkeypatch.setattr(cycle, '_part', spy(cycle._part))
    monkeypatch.setattr(cycle, '_kernel', spy(cycle._kernel))
    conv = PSConv2d(8, 12, 3, padding=1)
    x = torch.randn(2, 8, 6, 5, requires_grad=True)
    output = conv(x)
    assert len(made) == 6
    assert not any(reference() is not None for reference in made)
    output.square().sum().backward()
    assert len(made) == 12


def test_an_input_changed_before_the_backward_pass_is_refused():
    conv = PSConv2d(8, 8, 3, padding=1)
    x = torch.randn(1, 8, 6, 6, requires_grad=True)
    inside = x * 2
    output = conv(inside).sum()
    inside.add_(1)
    with pytest.raises(RuntimeError, match='modified in place'):
        output.backward()


def test_second_derivatives_of_whole_classes():
    conv = PSConv2d(4, 4, 3, 2, 1).double()
    assert conv._cycle is not None
    x = torch.randn(1, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    names = ['weight', 'bias']

    def run(x, *parameters):
        return torch.func.functional_call(conv, dict(zip(names, parameters)), (x,))

    assert torch.autograd.gradcheck(run, (x, conv.weight, conv.bias))
    assert torch.autograd.gradgradcheck(run, (x, conv.weight, conv.bias))
