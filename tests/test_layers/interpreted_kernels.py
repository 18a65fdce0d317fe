"""The Triton kernels on a CPU, in Triton's interpreter, against one convolution per kernel.

Collected by ``test_triton.py`` in a process of its own, since ``TRITON_INTERPRET`` is read when
Triton is imported. Channels are few, since the interpreter takes milliseconds a step.
"""

import functools
from unittest import mock

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only
from triton.runtime.interpreter import InterpreterBuilder

from mmic.layers import ICConv2d, PSConv2d, kernels
from mmic.layers.kernels import kernel_conv2d, kernels_apply, tables

# Of float32, and of what the dtype's last bit allows in sums of up to 144 products.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@pytest.fixture(autouse=True)
def _bfloat16_products():
    """The interpreter holds bfloat16 as integers and multiplies these; here they are decoded."""
    product = InterpreterBuilder.create_dot

    def decode(handle):
        if handle.data.dtype == np.uint16:
            handle.data = (handle.data.astype(np.uint32) << 16).view(np.float32)

    def create_dot(self, a, b, *rest):
        decode(a)
        decode(b)
        return product(self, a, b, *rest)

    with mock.patch.object(InterpreterBuilder, 'create_dot', create_dot):
        yield


def with_table(conv):
    """Keep a table on a layer of few channels too, which it would leave to the plain form."""
    classes = (
        kernels.classes_by_output(conv.dilations, conv.in_channels, conv.groups)
        if isinstance(conv, ICConv2d)
        else kernels.classes_by_kernel(conv.dilations, conv.groups)
    )
    tables.register_table(conv, classes)
    return conv


def ic_conv(inputs, outputs, size=3, stride=1, groups=1, layout='sorted', bias=True, padding=None):
    """A layer with the dilations (1, 1), (1, 3) and (2, 1)."""
    pairs = [[(1, 1), (1, 3), (2, 1)][i] for i in torch.randint(3, (outputs,)).tolist()]
    if layout == 'sorted':
        pairs.sort()
    padding = size // 2 if padding is None else padding
    conv = ICConv2d(inputs, outputs, size, stride, padding, 1, groups, bias, dilations=pairs)
    return with_table(conv)


def ps_conv(inputs, outputs, stride=1, groups=1, axes='both', pattern=(1, 2)):
    conv = PSConv2d(inputs, outputs, 3, stride, 1, groups=groups, pattern=pattern, axes=axes)
    return with_table(conv)


def reference(conv, x, weight, bias):
    """One convolution of one channel for each kernel, in float64."""
    x, weight = x.double(), weight.double()
    depth, per_group = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    radius = conv.kernel_size[0] // 2
    outputs = []
    for c in range(conv.out_channels):
        total = 0
        for k in range(depth):
            source = c // per_group * depth + k
            pair = conv.dilations[c] if isinstance(conv, ICConv2d) else conv.dilations[c, k]
            pair = tuple(pair.expand(2).tolist())
            padding = [pad + radius * (rate - 1) for pad, rate in zip(conv.padding, pair)]
            kernel, channel = weight[c : c + 1, k : k + 1], x[:, source : source + 1]
            total = total + F.conv2d(channel, kernel, None, conv.stride, padding, pair)
        outputs.append(total)
    output = torch.cat(outputs, 1)
    return output if bias is None else output + bias.double()[:, None, None]


def assert_equal_to_reference(conv, x):
    """Compare the output and the gradients of input, weight and bias."""
    tolerance = TOLERANCE[x.dtype]
    close = functools.partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    leaves = [conv.weight] + ([conv.bias] if conv.bias is not None else [])
    x = x.detach().requires_grad_()
    output = kernel_conv2d(conv, x, conv.weight, conv.bias)
    expected = reference(conv, x, conv.weight, conv.bias)
    assert output.dtype == x.dtype
    close(output.double(), expected)
    seed = torch.randn_like(output)
    got = torch.autograd.grad(output, [x, *leaves], seed)
    wanted = torch.autograd.grad(expected, [x, *leaves], seed.double())
    for mine, theirs in zip(got, wanted):
        assert mine.dtype == x.dtype
        scale = max(1, theirs.abs().max())  # sums over pixels are large
        close(mine / scale, theirs / scale)


@pytest.mark.parametrize(
    ('options', 'shape'),
    [
        (dict(inputs=3, outputs=7), (2, 3, 5, 6)),
        (dict(inputs=6, outputs=8, groups=2, layout='position'), (1, 6, 7, 4)),
        (dict(inputs=4, outputs=5, stride=2, layout='position', bias=False), (2, 4, 7, 8)),
        (dict(inputs=2, outputs=4, stride=(1, 3), size=5, padding=(0, 3)), (1, 2, 8, 7)),
        (dict(inputs=18, outputs=6, groups=2, padding='same'), (1, 18, 3, 3)),
    ],
)
def test_ic_equals_one_convolution_per_kernel(options, shape):
    torch.manual_seed(0)
    conv = ic_conv(**options)
    if conv.padding == 'same':
        conv.padding = (1, 1)  # which it means, in numbers that the reference reads
    assert_equal_to_reference(conv, torch.randn(shape))


@pytest.mark.parametrize(
    ('options', 'shape'),
    [
        (dict(inputs=5, outputs=6, pattern=(1, 2, 1, 4)), (1, 5, 4, 6)),
        (dict(inputs=5, outputs=4, stride=2), (2, 5, 7, 6)),
        (dict(inputs=8, outputs=4, groups=2, pattern=(1, 3)), (1, 8, 4, 5)),
        (dict(inputs=4, outputs=4, axes='input'), (1, 4, 5, 5)),
        (dict(inputs=4, outputs=6, axes='output'), (1, 4, 5, 5)),
        (dict(inputs=4, outputs=4, groups=4, axes='group', pattern=(1, 2)), (1, 4, 5, 5)),
    ],
)
def test_ps_equals_one_convolution_per_kernel(options, shape):
    torch.manual_seed(0)
    assert_equal_to_reference(ps_conv(**options), torch.randn(shape))


@pytest.mark.parametrize('full', [True, False])
def test_several_blocks_of_channels(full):
    """Classes of full blocks are read without masks; others share blocks with their neighbours."""
    torch.manual_seed(0)
    counts = (16, 16) if full else (21, 14)
    dilations = [(1, 2)] * counts[0] + [(3, 1)] * counts[1]
    depth = 16 if full else 19
    conv = with_table(ICConv2d(depth, sum(counts), 3, padding=1, dilations=dilations))
    layout = tables.Layout(*conv._kernel_layout)
    assert (layout.full_out, layout.full_in) == (full, full)
    assert layout.blocks_out > 1
    assert_equal_to_reference(conv, torch.randn(1, depth, 3, 4))


def test_several_tiles_of_pixels():
    """Tiles end within an image, and the weight's gradient is the sum of several parts."""
    torch.manual_seed(0)
    conv = with_table(ICConv2d(1, 2, 3, padding=1, dilations=[(2, 3)] * 2))
    assert_equal_to_reference(conv, torch.randn(3, 1, 15, 13))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('build', [ic_conv, ps_conv])
def test_half_precision(build, dtype):
    torch.manual_seed(0)
    assert_equal_to_reference(build(4, 6).to(dtype), torch.randn(1, 4, 4, 5, dtype=dtype))


def test_any_strides():
    """Of the input, and of the output's gradient, which are 0 for a sum."""
    torch.manual_seed(0)
    wide = torch.randn(2, 8, 3, 6).to(memory_format=torch.channels_last)
    inputs = [
        wide[:, 2:6],
        wide[:, ::2, :, 1::2],
        wide.contiguous()[:, 4:, 1:].transpose(2, 3),
        wide[:1, :4].expand(2, -1, -1, -1),
    ]
    for conv, x in zip([ic_conv(4, 2), ps_conv(4, 1)] * 2, inputs):
        x = x.detach().requires_grad_()
        got = kernel_conv2d(conv, x, conv.weight, conv.bias)
        wanted = reference(conv, x, conv.weight, conv.bias).float()
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
        got, wanted = (torch.autograd.grad(output.sum(), x) for output in (got, wanted))
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_keeps_the_memory_format():
    conv, x = ic_conv(4, 3), torch.randn(2, 4, 3, 5)
    for form in (torch.contiguous_format, torch.channels_last):
        x = x.detach().contiguous(memory_format=form).requires_grad_()
        output = kernel_conv2d(conv, x, conv.weight, conv.bias)
        output.square().sum().backward()
        assert output.is_contiguous(memory_format=form)
        assert x.grad.is_contiguous(memory_format=form)


@pytest.mark.parametrize('build', [ic_conv, ps_conv])
def test_empty_batch(build):
    conv, x = build(4, 6), torch.randn(0, 4, 5, 7, requires_grad=True)
    output = kernel_conv2d(conv, x, conv.weight, conv.bias)
    assert output.shape == (0, 6, 5, 7)
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert not conv.weight.grad.any()
    assert not conv.bias.grad.any()


def test_infinities_stay_in_their_group():
    """Channels of the next group are read along with a block's last ones."""
    conv, x = ic_conv(6, 4, groups=2), torch.randn(1, 6, 4, 4)
    x[:, 3:] = torch.inf
    with np.errstate(invalid='ignore'):
        output = kernel_conv2d(conv, x, conv.weight, None)
    wanted = reference(conv, x, conv.weight, None)[:, :2].float()
    torch.testing.assert_close(output[:, :2], wanted, rtol=1e-4, atol=1e-4)


def test_second_derivatives():
    """Of the gradient's norm, as a gradient penalty needs them."""
    torch.manual_seed(0)
    conv, x = ic_conv(4, 4), torch.randn(1, 4, 4, 3, requires_grad=True)
    leaves = [x, conv.weight]
    results = []
    for run in (kernel_conv2d, reference):
        output = run(conv, x, conv.weight, None).to(torch.float64)
        first = torch.autograd.grad(output.pow(3).sum(), leaves, create_graph=True)
        penalty = sum(gradient.double().square().sum() for gradient in first)
        results.append(torch.autograd.grad(penalty, leaves))
    for mine, theirs in zip(*results):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


def test_operators_are_registered_soundly():
    """Schema, autograd, and shapes as predicted, dynamic ones too; strides as predicted."""
    conv = with_table(ICConv2d(2, 3, 3, 2, 1, dilations=[(1, 2)] * 3))
    how = (conv.table('kernels'), conv._kernel_layout, [2, 2], [1, 1])
    x = torch.randn(2, 2, 5, 4).to(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn(2, 3, 3, 2, requires_grad=True)
    ops = torch.ops.mmic
    for op, arguments in (
        (ops.dilated_conv2d, (x, conv.weight, conv.bias, *how)),
        (ops.dilated_conv2d_input, (grad, conv.weight, *how, [2, 2, 5, 4])),
        (ops.dilated_conv2d_weight, (grad, x, *how, [3, 2, 3, 3])),
    ):
        torch.library.opcheck(op.default, arguments)
        real = op(*arguments)
        with FakeTensorMode() as mode:
            predicted = op(*tree_map_only(torch.Tensor, mode.from_tensor, arguments))
        assert (predicted.shape, predicted.stride()) == (real.shape, real.stride())


@pytest.fixture(scope='module')
def layers():
    """An IC and a PS layer of as many channels as they take to choose the kernels themselves."""
    torch.manual_seed(0)
    return [
        ICConv2d(16, 16, 3, padding=1, dilations=[(1, 1)] * 10 + [(2, 1)] * 6),
        PSConv2d(16, 16, 3, padding=1, pattern=(1, 2)),
    ]


def test_layers_choose_the_kernels(layers):
    x = torch.randn(1, 16, 3, 4)
    for conv in layers:
        wanted = kernel_conv2d(conv, x, conv.weight, conv.bias)
        with mock.patch('mmic.layers.branches.F.conv2d', side_effect=AssertionError):
            assert torch.equal(conv(x), wanted)


def test_layers_choose_the_plain_form(layers):
    """For what the kernels do not do, and where tools count or write single convolutions."""
    x = torch.randn(1, 16, 3, 4)
    for conv in layers:
        assert kernels_apply(conv, x, conv.weight)
        assert not kernels_apply(conv, x.double(), conv.weight)
        assert not kernels_apply(conv, x[0], conv.weight)
        traced = torch.jit.trace(conv, x)
        assert 'aten::_convolution' in str(traced.inlined_graph)
        assert 'mmic::' not in str(traced.inlined_graph)
        assert not kernels_apply(conv, x[:, :8], conv.weight)
        assert not kernels_apply(conv, x, conv.weight[:, :8])
        assert not kernels_apply(conv, x[:, :, :0], conv.weight)
    few = ICConv2d(30, 30, 3, padding=1, groups=2, dilations=[(1, 1)] * 30)
    assert not kernels_apply(few, torch.randn(1, 30, 3, 3), few.weight)


def test_compiles_as_one_graph(layers):
    """Also for another size of batch, which makes shapes dynamic."""
    conv = layers[0]
    compiled = torch.compile(conv, fullgraph=True, backend='aot_eager')
    for batch in (1, 2):
        x = torch.randn(batch, 16, 3, 3, requires_grad=True)
        leaves = [x, conv.weight, conv.bias]
        outputs = [run(x) for run in (conv, compiled)]
        torch.testing.assert_close(*outputs)
        gradients = [torch.autograd.grad(output.square().sum(), leaves) for output in outputs]
        torch.testing.assert_close(*gradients)


def test_exports_as_one_operator(layers):
    x = torch.randn(1, 16, 3, 4)
    for conv in layers:
        program = torch.export.export(conv, (x,))
        calls = [node.target for node in program.graph.nodes if node.op == 'call_function']
        assert calls == [torch.ops.mmic.dilated_conv2d.default]
        assert torch.equal(program.module()(x), conv(x))


@pytest.mark.parametrize('compiled', [True, False])
def test_follows_autocast(layers, compiled):
    x, conv = torch.randn(1, 16, 3, 4, requires_grad=True), layers[1]
    run = torch.compile(conv, fullgraph=True, backend='aot_eager') if compiled else conv
    with torch.autocast('cpu', torch.bfloat16):
        output = run(x)
    wanted = kernel_conv2d(conv, x, conv.weight, conv.bias)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), wanted, rtol=3e-2, atol=3e-2)
    gradients = torch.autograd.grad(output.sum(), [x, conv.weight])
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
