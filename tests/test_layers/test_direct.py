"""Layers of many dilations on a CPU: the compiled form equals one convolution for each channel."""

import copy
import io
import pickle
from collections import Counter
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmic.layers import ICConv2d, PSConv2d, direct
from mmic.layers.fused_conv import fused_conv

pytestmark = pytest.mark.skipif(not direct.has_compiled_code(), reason='numba is missing')
if direct.has_compiled_code():
    from mmic.layers.direct import images, loops
    from mmic.layers.direct import plan as planning

FORMATS = [torch.contiguous_format, torch.channels_last]
DILATIONS = [(1, 1), (6, 2), (1, 6), (3, 1), (2, 5)]
LAYOUTS = ['contiguous', 'channels_last', 'sliced', 'transposed', 'expanded']


@contextmanager
def recorded():
    """The convolutions that are computed by compiled code."""
    runs, run = [], direct.Direct.conv2d_of

    def record(self, *arguments):
        runs.append(self)
        return run(self, *arguments)

    with mock.patch.object(direct.Direct, 'conv2d_of', record):
        yield runs


@pytest.fixture
def runs():
    with recorded() as runs:
        yield runs


def ic_conv(counts, depth=6, padding=1, bias=True):
    """A layer of that many output channels of each dilation, not in order."""
    torch.manual_seed(0)
    dilations = [pair for count, pair in zip(counts, DILATIONS) for _ in range(count)]
    dilations = dilations[::3] + dilations[1::3] + dilations[2::3]
    return ICConv2d(depth, len(dilations), 3, padding=padding, bias=bias, dilations=dilations)


def small_layer(padding=1, bias=True):
    return ic_conv([5, 2, 3, 2, 4], padding=padding, bias=bias)


def ps_conv(axes='both', pattern=(1, 2, 1, 4), channels=(6, 7), **options):
    torch.manual_seed(0)
    return PSConv2d(*channels, 3, padding=1, pattern=pattern, axes=axes, **options)


def image(*shape, layout='contiguous'):
    """Numbers of that shape.

    Args:
        *shape (int): (N, C, H, W).
        layout (str): How they stand in memory.
    """
    n, c, h, w = shape
    generator = torch.Generator().manual_seed(1)
    if layout == 'sliced':
        return torch.randn(n, 2 * c + 1, h + 3, 2 * w, generator=generator)[:, 1::2, 2:-1, ::2]
    if layout == 'transposed':
        return torch.randn(n, c, w, h, generator=generator).transpose(2, 3)
    if layout == 'expanded':
        return torch.randn(1, c, 1, w, generator=generator).expand(shape)
    x = torch.randn(shape, generator=generator)
    return x.to(memory_format=getattr(torch, f'{layout}_format', torch.channels_last))


def rates_of(layer):
    """(d_h, d_w) of each kernel, by loops."""
    kernels = []
    for c in range(layer.out_channels):
        if isinstance(layer, ICConv2d):
            kernels.append([tuple(layer.dilations[c].tolist())] * layer.in_channels)
            continue
        inputs = range(layer.in_channels)
        places = [{'both': k - c, 'input': k, 'output': c}[layer.axes] for k in inputs]
        rates = [layer.pattern[place % len(layer.pattern)] for place in places]
        kernels.append([(rate, rate) for rate in rates])
    return kernels


def by_torch(layer, x, weight=None):
    """Each output channel alone, in float64."""
    x = x.double()
    weight = (layer.weight if weight is None else weight).double()
    outputs = []
    for c, row in enumerate(rates_of(layer)):
        total = 0
        for pair in sorted(set(row)):
            ks = [k for k, own in enumerate(row) if own == pair]
            padding = [pad + d - 1 for pad, d in zip(layer.padding, pair)]
            kernels = weight[c : c + 1, ks]
            total = total + F.conv2d(x[:, ks], kernels, None, layer.stride, padding, pair)
        outputs.append(total if layer.bias is None else total + layer.bias[c].double())
    return torch.cat(outputs, 1)


def assert_close(output, expected):
    assert output.dtype == torch.float32
    expected = expected.detach().double()
    atol = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(output.detach().double(), expected, rtol=1e-4, atol=atol)


def assert_equals_torch(layer, x):
    """Compare outputs and all gradients; outputs and gradients are laid out as torch's are."""
    leaves = [x.requires_grad_(), *layer.parameters()]
    expected = by_torch(layer, x)
    direction = torch.randn(expected.shape)
    gradients = torch.autograd.grad(expected, leaves, direction.double())
    with recorded() as runs:
        output = layer(x)
    assert runs == [layer._direct]
    assert_close(output, expected)
    last = [direct.is_channels_last(tensor) for tensor in leaves[:2]]
    assert output.is_contiguous(memory_format=FORMATS[any(last)])
    found = torch.autograd.grad(output, leaves, direction)
    for mine, theirs in zip(found, gradients):
        assert_close(mine, theirs)
    for mine, is_last in zip(found, last):
        assert mine.is_contiguous(memory_format=FORMATS[is_last])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_equals_torch_in_any_case(data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    pairs = draw(st.lists(st.tuples(*[st.integers(1, 6)] * 2), min_size=2, max_size=6, unique=True))
    padding = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    depth, bias = draw(st.integers(1, 20)), draw(st.booleans())
    if draw(st.booleans()):
        dilations = draw(st.lists(st.sampled_from(pairs), min_size=0, max_size=28)) + pairs[:2]
        layer = ICConv2d(depth, len(dilations), 3, padding=padding, bias=bias, dilations=dilations)
        tallest = max(d_h for d_h, _ in dilations)
    else:
        pattern = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5, unique=True))
        pattern += pattern[:1]
        depth, axes = depth + len(pattern), draw(st.sampled_from(['both', 'input', 'output']))
        channels = depth, draw(st.integers(len(pattern), 20))
        options = {'padding': padding, 'bias': bias, 'pattern': pattern, 'axes': axes}
        layer = PSConv2d(*channels, 3, **options)
        tallest = max(pattern)
    layer.to(memory_format=draw(st.sampled_from(FORMATS)))
    # The padding is of the undilated convolution, the output 2 smaller where it is 0.
    height = draw(st.integers(max(tallest, 2 * padding[0] - 1), 60)) + 2 - 2 * padding[0]
    width = draw(st.integers(direct.LEAST_WIDTH, 70)) + 2 - 2 * padding[1]
    shape = draw(st.integers(1, 3)), depth, height, width
    assert_equals_torch(layer, image(*shape, layout=draw(st.sampled_from(LAYOUTS))))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_strides_of_inference(data):
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    axis = st.integers(1, 6)
    dilations = draw(st.lists(st.tuples(axis, axis), min_size=2, max_size=9)) + [(1, 1), (6, 2)]
    stride = draw(st.sampled_from([(2, 2), (1, 2), (2, 1), (3, 2), (1, 4)]))
    padding = draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    depth, bias = draw(st.integers(1, 9)), draw(st.booleans())
    if draw(st.booleans()):
        layer = ICConv2d(depth, len(dilations), 3, stride, padding, bias=bias, dilations=dilations)
    else:
        pattern = draw(st.permutations([1, 2, 3, 6]))
        options = {
            'bias': bias,
            'pattern': pattern,
            'axes': draw(st.sampled_from(['both', 'input'])),
        }
        depth += 4
        layer = PSConv2d(depth, 9, 3, stride, padding, **options)
    layer.to(memory_format=draw(st.sampled_from(FORMATS)))
    size = []
    for s, pad, least in zip(stride, padding, (6, direct.LEAST_WIDTH)):
        outputs = max(draw(st.integers(least, 40)), 2 * pad)
        size.append(s * (outputs - 1) + 3 - 2 * pad + draw(st.integers(0, s - 1)))
    x = image(draw(st.integers(1, 3)), depth, *size, layout=draw(st.sampled_from(LAYOUTS)))
    expected = by_torch(layer, x)
    threads = draw(st.integers(1, 3))
    with recorded() as runs, mock.patch('torch.get_num_threads', return_value=threads):
        assert_close(layer(x), expected)
        assert not runs  # gradients are wanted
        with torch.no_grad():
            output, of_fused = layer(x), fused_conv(layer)(x)
    assert len(runs) == 2
    for found in (output, of_fused):
        assert_close(found, expected)
    last = any(map(direct.is_channels_last, (x, layer.weight)))
    assert output.is_contiguous(memory_format=FORMATS[last])


@pytest.mark.parametrize('count', range(1, 12))
def test_every_number_of_outputs_together(count):
    layer = ic_conv([count, 1], depth=3)
    jobs = layer._direct.plan.jobs
    sizes = [size for size, *_ in jobs.tolist()]
    assert sum(sizes) == count + 1
    assert max(sizes) <= loops.MOST
    assert sizes.count(1) == (1 if count > 1 else 2)
    assert_equals_torch(layer, image(1, 3, 7, 35))


@pytest.mark.parametrize('depth', range(1, 10))
def test_every_number_of_inputs(depth):
    """Seven and three outputs leave one without another to compute its gradient with."""
    assert_equals_torch(ic_conv([7, 3], depth=depth), image(2, depth, 7, 24))


@pytest.mark.parametrize('threads', [1, 3])
@pytest.mark.parametrize('size', [(6, 24), (53, 100), (6, 900), (9, 2100), (127, 29)])
def test_threads_and_parts_of_images(size, threads, monkeypatch):
    """Images of fewer rows than are computed together, and of a part of these at the end."""
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    assert_equals_torch(small_layer(), image(2, 6, *size))


def test_rows_together_of_some_sizes_leave_a_rest():
    stages = small_layer()._direct.plan.stages
    for height, pitch in [(53, 106), (127, 35)]:
        rows = planning.rows_together(stages, height, pitch, 2 * height)
        assert rows < height
        assert height % rows


@pytest.mark.parametrize('pattern', [(1, 2, 1, 4), (3, 1), (1, 2, 3, 2, 5)])
@pytest.mark.parametrize('axes', ['both', 'input', 'output'])
def test_ps_conv(axes, pattern):
    for channels in ((8, 8), (5, 11)):
        layer = ps_conv(axes, pattern, channels)
        assert_equals_torch(layer, image(2, channels[0], 9, 26, layout='channels_last'))


def plans():
    """Layers, and whether the plan is that of the input's gradient."""
    layers = [small_layer(), *(ps_conv(axes) for axes in ('both', 'input', 'output'))]
    return [(layer, back) for layer in layers for back in (False, True)]


def test_plans_read_every_kernel_once_as_it_is_dilated():
    for layer, back in plans():
        plan = layer._direct.plan_back if back else layer._direct.plan
        rates, found, started = rates_of(layer), [], set()
        stages, slots, jobs, reads = (table.tolist() for table in plan[:4])
        before = 0
        for d_h, first_slot, _, first, last in stages:
            for used, begin, end, start, fresh, *outs in jobs[first:last]:
                assert start == before
                before += end - begin
                assert outs[used:] == [-1] * (loops.MOST - used)
                assert bool(fresh) == (not started.intersection(outs[:used]))
                assert not fresh or started.isdisjoint(outs[:used])
                started.update(outs[:used])
                for slot, channel, column, d_w in reads[begin:end]:
                    # The padding of a kernel is its dilation here, in both directions.
                    assert slots[first_slot + slot] == [channel, d_h]
                    assert column == plan.left - d_w >= 0
                    assert column + 2 * d_w <= plan.reach
                    for out in outs[:used]:
                        kernel = (channel, out) if back else (out, channel)
                        assert rates[kernel[0]][kernel[1]] == (d_h, d_w)
                        found.append(kernel)
        assert Counter(found) == Counter(np.ndindex(layer.weight.shape[:2]))


def test_gradients_are_planned_for_every_kernel_once():
    for layer, back in plans():
        if back:
            continue
        plan, (pairs, sources) = layer._direct.plan, layer._direct.gradients
        found = []
        for stage, first, last, _, *outs in pairs.tolist():
            for out, _, d_w in zip(outs[::3], outs[1::3], outs[2::3]):
                ks = [channel for _, channel in sources[first:last].tolist()] if out >= 0 else []
                for k in ks:
                    assert rates_of(layer)[out][k] == (plan.stages[stage, 0], d_w)
                    found.append((out, k))
        assert Counter(found) == Counter(np.ndindex(layer.weight.shape[:2]))


@pytest.mark.parametrize('frozen', ['input', 'weight'])
@pytest.mark.parametrize('create_graph', [False, True])
def test_gradient_of_one_alone(frozen, create_graph, runs):
    layer, x = small_layer(bias=False), image(1, 6, 8, 25)
    leaf = x if frozen == 'weight' else layer.weight
    layer.weight.requires_grad_(False)
    leaf.requires_grad_()
    expected = torch.autograd.grad(by_torch(layer, x).square().sum(), leaf)[0]
    output = layer(x)
    assert runs
    found = torch.autograd.grad(output.square().sum(), leaf, create_graph=create_graph)[0]
    assert_close(found, expected)


def test_second_derivatives(runs):
    layer, x = small_layer(), image(1, 6, 8, 25).requires_grad_()
    leaves, found = [x, *layer.parameters()], []
    for output in (layer(x), by_torch(layer, x)):
        first = torch.autograd.grad(output.pow(3).sum(), leaves[:2], create_graph=True)
        total = sum(grad.double().square().sum() for grad in first)
        found.append(torch.autograd.grad(total, leaves))
    assert runs
    for mine, theirs in zip(*found):
        assert_close(mine, theirs)


def test_batched_gradients():
    """``torch.autograd`` computes several at once, as of a Jacobian, by operators of torch."""
    layer, x = small_layer(), image(1, 6, 8, 25).requires_grad_()
    directions = torch.randn(3, 1, 16, 8, 25)
    output = layer(x)
    batched = torch.autograd.grad(output, x, directions, retain_graph=True, is_grads_batched=True)
    for mine, direction in zip(batched[0], directions):
        assert_close(mine, torch.autograd.grad(by_torch(layer, x), x, direction.double())[0])


def test_changes_of_what_the_gradient_needs_are_noticed(runs):
    layer, x = small_layer(), image(1, 6, 8, 25)
    for changed in (x, layer.weight):
        output = layer(x)
        with torch.no_grad():
            changed.mul_(2)
        with pytest.raises(RuntimeError, match='modified by an inplace operation'):
            output.sum().backward()
    assert runs


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_is_not_finite_comes_out(value, runs):
    layer, x = small_layer(), image(2, 6, 50, 40)
    x[1, 2, 24, 20] = value
    expected = by_torch(layer, x)
    output = layer(x)
    assert runs
    finite = output.isfinite()
    assert not finite[~expected.isfinite()].any()
    assert finite[0].all()
    for channel, (d_h, d_w) in enumerate(layer.dilations.tolist()):
        wrong = (~finite[1, channel]).nonzero() - torch.tensor([24, 20])
        assert (wrong[:, 0].abs() <= 3 * d_h).all()
        assert (wrong[:, 1].abs() <= d_w).all()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_spoil_their_output_alone(value, runs):
    layer, x = small_layer(), image(1, 6, 12, 24)
    with torch.no_grad():
        layer.weight[3, 2, 0, 1] = value
    with torch.no_grad():
        output, expected = layer(x), by_torch(layer, x)
    assert runs
    assert not output.isfinite()[~expected.isfinite()].any()
    assert output[:, [channel for channel in range(16) if channel != 3]].isfinite().all()


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('make', [small_layer, ps_conv])
def test_layers_agree_with_and_without(make, memory_format, monkeypatch, runs):
    layer = make().to(memory_format=memory_format)
    x = image(2, 6, 12, 30).to(memory_format=memory_format).requires_grad_()
    found = []
    for has_numba in (True, False):
        monkeypatch.setattr(direct, 'has_compiled_code', lambda has_numba=has_numba: has_numba)
        output = layer(x)
        gradients = torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])
        assert output.is_contiguous(memory_format=memory_format)
        found.append((output, *gradients))
    assert len(runs) == 1
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_other_inputs_take_the_operators_of_torch(monkeypatch, runs):
    layer, x = small_layer(), image(1, 6, 9, 30)
    dilations = layer.dilations
    narrow = x[..., : direct.LEAST_WIDTH - 1]
    assert_close(layer(narrow), by_torch(layer, narrow))
    assert_close(layer(x[:, :, :5]), by_torch(layer, x[:, :, :5]))  # lower than d_h
    assert layer(x[:0]).shape == (0, 16, 9, 30)
    ICConv2d(6, 16, 3, padding=1, stride=2, dilations=dilations)(image(1, 6, 60, 60))
    ICConv2d(6, 16, 3, padding=1, groups=2, dilations=dilations)(x)
    ICConv2d(6, 16, 5, padding=2, dilations=dilations)(x)
    ICConv2d(6, 16, 3, padding=1, dilations=[(2, 1)] * 16)(x)
    PSConv2d(6, 6, 3, padding=1, groups=2, pattern=(1, 2))(x)
    ps_conv(form='sum')(x)
    layer.double()(x.double())
    layer.bfloat16()(x.bfloat16())
    layer.float()
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert copy.deepcopy(layer).to('meta')(x.to('meta')).is_meta
    with pytest.raises(RuntimeError, match='channels'):
        layer(x[:, :5])
    monkeypatch.setenv('MMIC_KERNELS', 'plain')
    layer(x)
    monkeypatch.undo()
    assert not runs
    layer(x)
    assert runs


def test_default_dtype_and_device_do_not_matter(runs):
    layer, x = small_layer(), image(2, 6, 9, 30, layout='channels_last').requires_grad_()
    fused, expected = fused_conv(layer), by_torch(layer, x)
    gradients = torch.autograd.grad(expected.sum(), [x, layer.weight])
    found = []
    try:
        torch.set_default_dtype(torch.float64)
        found.append((layer(x), layer, fused))
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device('meta'):
        found.append((layer(x), layer, fused))
    assert len(runs) == 2
    for output, *_ in found:
        assert_close(output, expected)
        for mine, theirs in zip(torch.autograd.grad(output.sum(), [x, layer.weight]), gradients):
            assert_close(mine, theirs)
    with torch.no_grad(), torch.device('meta'):
        assert_close(fused(x), expected)


class Convolutions(TorchDispatchMode):
    """Counts them, as tools that count multiply-adds do."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 'convolution' in function.overloadpacket.__name__
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('make', [small_layer, lambda: fused_conv(small_layer())])
def test_programs_that_torch_reads_hold_its_operators_alone(make, runs):
    module, x = make(), image(1, 6, 9, 30)
    with torch.no_grad():
        traced = torch.jit.trace(module, x, check_trace=False)
        assert str(traced.inlined_graph).count('aten::_convolution(') == 5
        compiled = torch.compile(module, fullgraph=True, backend='aot_eager')(x)
        with Convolutions() as convolutions:
            module(x)
        assert convolutions.count == 5
        backward = torch.func.vjp(module, x)[0]
        forward = torch.func.jvp(module, (x,), (x,))[0]
        same = traced(x), compiled, backward, forward
        assert not runs
        output = module(x)
        assert len(runs) == 1
    for other in same:
        torch.testing.assert_close(other, output, rtol=1e-4, atol=1e-4)


FUSED = {
    'ic': small_layer,
    'ic without bias': lambda: small_layer(bias=False),
    'both': ps_conv,
    'cycle': lambda: ps_conv(channels=(8, 8)),
    'input': lambda: ps_conv('input'),
    'output': lambda: ps_conv('output'),
    'reorder': lambda: ps_conv(pattern=(1, 2, 3, 2), channels=(5, 6)),
}


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('name', FUSED)
def test_fused_layers(name, memory_format, runs):
    layer = FUSED[name]().to(memory_format=memory_format)
    x = image(2, layer.in_channels, 9, 27).to(memory_format=memory_format)
    expected = by_torch(layer, x)
    in_order = torch.randperm(layer.in_channels).tolist()
    out_order = torch.randperm(layer.out_channels).tolist()
    fused, other = fused_conv(layer), fused_conv(layer, in_order, out_order)
    with torch.no_grad():
        for _ in range(2):
            output = fused(x)
            assert output.is_contiguous(memory_format=memory_format)
            assert_close(output, expected)
        assert_close(other(x[:, in_order]), expected[:, out_order])
    assert len(runs) == 3
    assert_close(fused(x.requires_grad_()), expected)
    assert len(runs) == 3


def test_fused_sums_have_parts_that_share_kernels(runs):
    layer, x = ps_conv(form='sum'), image(1, 6, 9, 27)
    with torch.no_grad():
        assert_close(fused_conv(layer)(x), by_torch(layer, x))
    assert not runs


def of_convs(fused, x):
    """The output by the operators of torch, from the convolutions as they are."""
    return fused(x).detach()  # gradients are enabled


def test_fused_weights_are_followed(runs):
    fused, other, x = fused_conv(small_layer()), fused_conv(small_layer()), image(1, 6, 9, 27)

    def assert_followed():
        with torch.no_grad():
            output = fused(x)
        assert len(runs) == 1
        runs.clear()
        assert_close(output, of_convs(fused, x))
        assert not runs
        return output

    outputs = [assert_followed()]
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    fused.load_state_dict(other.state_dict())
    outputs.append(assert_followed())
    optimizer = torch.optim.SGD(fused.parameters(), 0.1)
    fused(x).square().mean().backward()
    optimizer.step()
    outputs.append(assert_followed())
    with torch.no_grad():
        fused.convs[1].bias.add_(1)
    outputs.append(assert_followed())
    fused.bfloat16().float()  # rounds, and may come back to the same memory
    outputs.append(assert_followed())
    fused.double().float()
    torch.testing.assert_close(assert_followed(), outputs[-1])
    for _ in range(10):
        # The new weight may stand where another one stood before.
        fused.convs[1].weight.data = fused.convs[1].weight.data * 2
        fused.convs[1].weight.data = fused.convs[1].weight.data * 2
        assert_followed()
    for before, after in zip(outputs, outputs[1:]):
        assert not torch.allclose(before, after)


def test_fused_weights_of_inference_mode_are_followed(runs):
    x = image(1, 6, 9, 27)
    with torch.inference_mode():
        fused = fused_conv(small_layer())
        for _ in range(2):
            fused.convs[0].weight.mul_(2)
            plain = [conv(x) for conv in fused.convs]
            assert_close(fused(x).sum(1), sum(output.sum(1) for output in plain))
    assert len(runs) == 2


@pytest.mark.parametrize('kind', ['register_forward_hook', 'register_forward_pre_hook'])
def test_hooks_on_fused_convolutions_are_called(kind, runs):
    fused, called = fused_conv(small_layer()), []
    getattr(fused.convs[2], kind)(lambda *_: called.append(1))
    with torch.no_grad():
        fused(image(1, 6, 9, 30))
    assert called == [1]
    assert not runs


def by_pickle(module):
    return pickle.loads(pickle.dumps(module))


def by_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    # torch before 2.4 reads modules without being asked to.
    return torch.load(file, **({'weights_only': False} if torch.__version__ >= '2.4' else {}))


@pytest.mark.parametrize('copied', [copy.deepcopy, by_pickle, by_torch_save])
@pytest.mark.parametrize('make', [small_layer, ps_conv, lambda: fused_conv(small_layer())])
def test_copies_after_use(make, copied, runs):
    module, x = make(), image(1, 6, 9, 27)
    with torch.no_grad():
        output = module(x)
        same = copied(module)
        if hasattr(module, 'convs'):
            assert module._direct._made is not None
            assert same._direct._made is None  # what is laid out once would be saved with it
        torch.testing.assert_close(same(x), output, rtol=0, atol=0)
        for parameter in same.parameters():
            parameter.zero_()
        assert not same(x).any()
        torch.testing.assert_close(module(x), output, rtol=0, atol=0)
    assert len(runs) == 4


@pytest.mark.parametrize('rows', [1, 8, 16, 17, 31, 64, 65, 83])
def test_transposed(rows):
    """Tables with something beside them, which is left alone."""
    for columns in (1, 7, 8, 16, 23, 33, 70):
        source = np.random.default_rng(0).normal(size=(rows, columns + 5)).astype(np.float32)
        result = np.zeros((columns + 1, rows + 3), np.float32)
        expected = result.copy()
        expected[1:, 2:-1] = source[:, 4:-1].T
        places = source.ravel(), 4, columns + 5, result.ravel(), rows + 5, rows + 3
        images.transpose_table(*places, rows, columns)
        np.testing.assert_array_equal(result, expected)


# A processor without AVX-512 is taken for this one's, by numba's compiler as well.
NARROW = """
import sys

import pytest
from llvmlite import binding

features = binding.get_host_cpu_features()
features.update((name, False) for name in list(features) if name.startswith('avx512'))
binding.get_host_cpu_features = lambda: features
from mmic.layers.direct import vectors

assert vectors.WIDTH == 8
wanted = 'any_case or number_of or transposed or strides'
sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', wanted, %r]))
"""


def test_vectors_of_eight_numbers(tmp_path):
    """In a process of its own, with its own cache of what numba compiles."""
    told = run_python(NARROW % __file__, NUMBA_CACHE_DIR=str(tmp_path))
    assert ' passed' in told
