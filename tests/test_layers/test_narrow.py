"""Convolutions of few output channels: the compiled form and torch's operator are the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmic.layers import ICConv2d, narrow
from mmic.layers.fused_conv import fused_conv
from mmic.layers.narrow import Conv, narrow_conv2d

pytestmark = pytest.mark.skipif(not narrow.HAS_NUMBA, reason='numba is missing')
FORMATS = [torch.contiguous_format, torch.channels_last]
DILATIONS = [(1, 1), (6, 2), (1, 6), (3, 1), (2, 5), (4, 4), (5, 3), (1, 2)]
# Output channels of each dilation; 19 and 13 are above what is computed together.
COUNTS = [19, 1, 2, 3, 13, 4, 5, 12]


@pytest.fixture
def runs(monkeypatch):
    """The numbers of convolutions that were computed together."""
    apply, runs = narrow._Narrow.apply, []

    def recorded(x, bias, dilations, *others):
        runs.append(len(dilations))
        return apply(x, bias, dilations, *others)

    monkeypatch.setattr(narrow._Narrow, 'apply', recorded)
    return runs


def draw(counts=COUNTS, depth=5, pad=1, bias=True, dtype=torch.float32):
    """Convolutions; ``pad`` is the undilated one's padding."""
    generator = torch.Generator().manual_seed(0)
    convs = []
    for count, dilation in zip(counts, DILATIONS):
        weight = torch.randn(count, depth, 3, 3, generator=generator)
        offset = torch.randn(count, generator=generator) if bias else None
        padding = tuple(pad + d - 1 for d in dilation)
        convs.append(Conv(weight, offset, (1, 1), padding, dilation))
    return convs


def image(*shape, memory_format=torch.contiguous_format):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return x.to(memory_format=memory_format)


def by_torch(x, convs):
    """Each convolution alone, in float64."""
    outputs = []
    for weight, bias, stride, padding, dilation in convs:
        bias = None if bias is None else bias.double()
        outputs.append(F.conv2d(x.double(), weight.double(), bias, stride, padding, dilation))
    return torch.cat(outputs, 1)


def assert_close(output, expected):
    assert output.dtype == torch.float32
    torch.testing.assert_close(
        output.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
    )


@pytest.mark.parametrize('threads', [1, 3])
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize(
    ('size', 'pad', 'bias'),
    [
        ((7, 24), 1, True),
        ((40, 31), 1, False),
        ((3, 33), 1, True),
        ((9, 26), 0, False),
        ((1, 26), 1, True),
        ((5, 57), 2, True),
        ((1, 900), 5, False),
        ((50, 24), (0, 4), True),
    ],
)
def test_equals_torch(size, pad, bias, grad, memory_format, threads, monkeypatch, runs):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    x = image(2, 5, *size, memory_format=memory_format)
    convs = draw(bias=bias)
    pads = pad if isinstance(pad, tuple) else (pad, pad)
    for number, conv in enumerate(convs):
        padding = tuple(p + d - 1 for p, d in zip(pads, conv.dilation))
        convs[number] = conv._replace(padding=padding)
    with torch.set_grad_enabled(grad):
        output = narrow_conv2d(x, convs)
    # What 19 has beyond 16 is computed with the others where no gradient is wanted.
    assert runs == [6 if grad else 7]
    assert_close(output, by_torch(x, convs))
    assert output.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('count', range(1, narrow.MOST_CHANNELS + 1))
def test_every_number_of_channels(count, runs):
    x, convs = image(1, 3, 6, 35), draw([count] * 5 + [1, 2], depth=3)
    assert_close(narrow_conv2d(x, convs), by_torch(x, convs))
    assert runs == [7]


def test_padding_beyond_the_dilations(runs):
    """The output is wider than what the rows of the padded input lie apart by otherwise."""
    x = image(2, 5, 6, 22)
    convs = [
        conv._replace(dilation=(d, 3 - d), padding=(d + 6, 9 - d))
        for conv, d in zip(draw([2, 3, 4, 1]), (1, 2, 1, 2))
    ]
    assert_close(narrow_conv2d(x, convs), by_torch(x, convs))
    assert runs


def test_strided_input_and_weight(runs):
    x = image(2, 9, 44, 70)[:, 1::2, ::3, 3::2].transpose(2, 3)[..., 1:]
    x = x.transpose(2, 3)[:, :4]
    convs = [
        conv._replace(weight=conv.weight.to(memory_format=torch.channels_last)[:, :4].flip(3))
        for conv in draw()
    ]
    assert not x.is_contiguous()
    assert_close(narrow_conv2d(x, convs), by_torch(x, convs))
    assert runs


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('bias', [False, True])
def test_gradients(bias, memory_format, runs):
    x = image(2, 5, 6, 29, memory_format=memory_format)
    convs = draw(bias=bias)
    direction = image(2, sum(COUNTS), 6, 29)
    leaves = [x, *(conv.weight for conv in convs), *(conv.bias for conv in convs if bias)]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = torch.autograd.grad(by_torch(x, convs), leaves, direction.double())
    found = torch.autograd.grad(narrow_conv2d(x, convs), leaves, direction)
    assert runs == [6]
    for mine, theirs in zip(found, expected):
        assert_close(mine, theirs.double())


@pytest.mark.parametrize('frozen', ['input', 'weight'])
def test_gradient_of_one_alone(frozen, runs):
    x, convs = image(1, 5, 4, 25), draw()
    leaves = [x] if frozen == 'weight' else [conv.weight for conv in convs]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = torch.autograd.grad(by_torch(x, convs).sum(), leaves)
    found = torch.autograd.grad(narrow_conv2d(x, convs).sum(), leaves)
    assert runs
    for mine, theirs in zip(found, expected):
        assert_close(mine, theirs.double())


def test_second_derivatives(runs):
    x, convs = image(1, 5, 4, 25).requires_grad_(), draw()
    weights = [conv.weight.requires_grad_() for conv in convs]
    found = []
    for output in (narrow_conv2d(x, convs), by_torch(x, convs)):
        first = torch.autograd.grad(output.square().sum(), [x], create_graph=True)[0]
        found.append(torch.autograd.grad(first.square().sum(), [x, *weights]))
    assert runs
    for mine, theirs in zip(*found):
        assert_close(mine, theirs.double())


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_finite_comes_out(value, runs):
    x, convs = image(1, 5, 9, 40), draw()
    x[0, 2, 4, 20] = value
    output = narrow_conv2d(x, convs)
    assert runs
    assert torch.equal(output.isfinite(), by_torch(x, convs).isfinite())


def small_layer(**settings):
    """2 to 5 channels for each dilation, not in order."""
    torch.manual_seed(0)
    dilations = [pair for count, pair in zip([5, 2, 3, 2, 4], DILATIONS) for _ in range(count)]
    return ICConv2d(
        6, 16, 3, dilations=dilations[::3] + dilations[1::3] + dilations[2::3], **settings
    )


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('padding', [0, 1, 'same'])
def test_layers_agree_with_and_without(padding, memory_format, monkeypatch, runs):
    layer = small_layer(padding=padding).to(memory_format=memory_format)
    x = image(2, 6, 12, 30, memory_format=memory_format).requires_grad_()
    fused = fused_conv(layer)
    found = []
    for has_numba in (True, False):
        monkeypatch.setattr(narrow, 'HAS_NUMBA', has_numba)
        output = layer(x)
        gradients = torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])
        with torch.no_grad():
            inferred, of_fused = layer(x), fused(x)
        assert output.is_contiguous(memory_format=memory_format)
        found.append((output, inferred, of_fused, *gradients))
    assert len(runs) == 3
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    for output in found[0][1:3]:
        torch.testing.assert_close(output, found[1][0], rtol=1e-4, atol=1e-4)


def test_other_inputs_take_the_operator_of_torch(runs):
    layer = small_layer(padding=1)
    x = image(1, 6, 9, 30)
    assert layer(x[:0]).shape == (0, 16, 9, 30)
    layer(x[..., :20])
    small_layer(padding=1, stride=2)(x)
    layer.double()(x.double())
    layer.bfloat16()(x.bfloat16())
    layer.float()
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.to('meta')(x.to('meta')).is_meta
    assert not runs


class Convolutions(TorchDispatchMode):
    """Counts them, as tools that count multiply-adds do."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 'convolution' in function.overloadpacket.__name__
        return function(*args, **(kwargs or {}))


def test_programs_that_torch_reads_hold_its_operators_alone(runs):
    layer, x = small_layer(padding=1), image(1, 6, 9, 30)
    for module in (layer, fused_conv(layer)):
        traced = torch.jit.trace(module, x, check_trace=False)
        assert str(traced.inlined_graph).count('aten::_convolution(') == 5
        compiled = torch.compile(module, fullgraph=True, backend='aot_eager')(x)
        with Convolutions() as convolutions:
            module(x)
        assert convolutions.count == 5
        backward = torch.func.vjp(module, x)[0]
        forward = torch.func.jvp(module, (x,), (x,))[0]
        assert not runs
        output = module(x)
        assert runs
        runs.clear()
        for same in (traced(x), compiled, backward, forward):
            torch.testing.assert_close(same, output, rtol=1e-4, atol=1e-4)


def test_hooks_on_fused_convolutions_are_called(runs):
    fused, called = fused_conv(small_layer(padding=1)), []
    fused.convs[2].register_forward_hook(lambda *_: called.append(1))
    fused(image(1, 6, 9, 30))
    assert called
    assert not runs


def test_few_convolutions_take_the_operator_of_torch(runs):
    """The copy of the input costs about as much as one of them."""
    assert narrow_conv2d(image(1, 5, 9, 30), draw([30, 8, 8])) is None
    assert nn.Conv2d(5, 8, 3, padding=1)(image(1, 5, 9, 30)).shape[1] == 8
    assert not runs
