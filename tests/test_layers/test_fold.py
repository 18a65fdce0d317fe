"""DO-Conv's kernel composition: the compiled form and the product are the same function."""

import pytest
import torch

from mmic.layers import DOConv2d, fold

# C_out, C_in, groups, d_mul, taps
SHAPES = [
    (8, 6, 1, 9, 9),
    (7, 5, 1, 9, 9),
    (8, 12, 4, 9, 9),
    (6, 6, 6, 9, 9),
    (5, 3, 1, 49, 49),
    (4, 6, 2, 11, 9),
    (4, 2, 1, 3, 3),
]
pytestmark = pytest.mark.skipif(not fold.has_compiled_code(), reason='numba is missing')


def draw(out_channels, in_channels, groups, d_mul, taps, channels_last=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shape = (out_channels, in_channels // groups, d_mul)
    weight = torch.randn(shape, generator=generator, dtype=dtype)
    if channels_last:
        weight = weight.transpose(1, 2).contiguous().transpose(1, 2)
    depthwise = torch.randn(taps, d_mul, in_channels, generator=generator, dtype=dtype)
    return weight.requires_grad_(), depthwise.requires_grad_()


def by_loop(weight, depthwise, groups):
    """Equation 3, channel by channel."""
    out_channels, depth, _ = weight.shape
    rows = []
    for out in range(out_channels):
        first = out // (out_channels // groups) * depth
        rows += [depthwise[:, :, first + i] @ weight[out, i] for i in range(depth)]
    return torch.stack(rows).reshape(out_channels, depth, -1)


@pytest.mark.parametrize('threads', [1, 3])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
def test_both_forms_equal_the_loop_with_gradients(shape, channels_last, threads, monkeypatch):
    weight, depthwise = draw(*shape, channels_last)
    groups = shape[2]
    expected = by_loop(weight, depthwise, groups)
    direction = torch.randn(expected.shape, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, (weight, depthwise), direction)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    for has_numba in (True, False):
        monkeypatch.setattr(fold, 'has_compiled_code', lambda has_numba=has_numba: has_numba)
        kernel = fold.compose(weight, depthwise, groups)
        torch.testing.assert_close(kernel, expected)
        found = torch.autograd.grad(kernel, (weight, depthwise), direction)
        torch.testing.assert_close(found, gradients)


@pytest.mark.parametrize('shape', [(4, 2, 1, 4, 3), (4, 4, 2, 3, 3)])
def test_first_and_second_derivatives(shape):
    def compose(weight, depthwise):
        assert fold._compiled_applies(weight, depthwise)
        return fold.compose(weight, depthwise, shape[2])

    assert torch.autograd.gradcheck(compose, draw(*shape))
    assert torch.autograd.gradgradcheck(compose, draw(*shape))


def test_kernel_keeps_the_layout_of_the_weight():
    """A channels_last weight would turn the activations of a contiguous network around."""
    conv = DOConv2d(4, 6, 3)
    assert conv.folded_weight().is_contiguous()
    conv.to(memory_format=torch.channels_last)
    assert conv.folded_weight().is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_finite_comes_out(value):
    weight, depthwise = draw(4, 4, 1, 9, 9)
    with torch.no_grad():
        weight[1, 2, 3] = value
    kernel = fold.compose(weight, depthwise, 1)
    assert not kernel[1, 2].isfinite().any()
    kernel[1, 2] = 0
    assert kernel.isfinite().all()


def test_traced_programs_hold_operators_of_torch_alone(monkeypatch):
    conv = DOConv2d(4, 4, 3)
    x = torch.randn(1, 4, 5, 5)
    used = []
    monkeypatch.setattr(fold._Fold, 'apply', lambda *_: used.append(1))
    traced = torch.jit.trace(conv, x, check_trace=False)
    assert 'bmm' in str(traced.inlined_graph)
    compiled = torch.compile(conv, fullgraph=True, backend='aot_eager')(x)
    assert not used
    monkeypatch.undo()
    torch.testing.assert_close(compiled, conv(x))


def test_other_tensors_take_the_product():
    weight, depthwise = draw(4, 4, 1, 9, 9)
    assert not fold._compiled_applies(weight.to('meta'), depthwise.to('meta'))
    assert not fold._compiled_applies(weight[:0], depthwise)
