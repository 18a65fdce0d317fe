"""DOConv2d: both compositions agree, it starts as the plain convolution and folds back into one."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmic.layers import DOConv2d
from mmic.layers.own_conv import real_dilation

KERNELS = [(3, 3), (5, 3), (7, 7)]


def naive_identity(taps, d_mul):
    """Paper, section 4: whole identity blocks side by side, the rest zero."""
    identity = torch.zeros(taps, d_mul, dtype=torch.float64)
    for d in range(taps * (d_mul // taps)):
        identity[d % taps, d] = 1
    return identity


def feature_composition(x, conv):
    """Eq. 3: a depthwise convolution of multiplier d_mul, then a 1x1 one, in two layers."""
    taps, d_mul, in_channels = conv.depthwise.shape
    size, depth = conv.kernel_size, in_channels // conv.groups
    d = conv.depthwise + naive_identity(taps, d_mul)[:, :, None]
    # Each of the d_mul outputs of input channel c has the kernel D[:, d, c], row by row.
    kernels = [d[:, m, c].reshape(1, *size) for c in range(in_channels) for m in range(d_mul)]
    first = torch.stack(kernels)
    places = conv.stride, conv.padding, real_dilation(conv)
    features = F.conv2d(x, first, None, *places, in_channels)
    second = conv.weight.reshape(conv.out_channels, depth * d_mul, 1, 1)
    return F.conv2d(features, second, conv.bias, groups=conv.groups)


def randomise(conv):
    nn.init.normal_(conv.depthwise)
    return conv.double()


def assert_compositions_equal(conv, x):
    """Compare outputs and the gradients of input, W, D and bias."""
    x = x.requires_grad_()
    leaves = [x, *conv.parameters()]
    expected, output = feature_composition(x, conv), conv(x)
    assert output.shape == expected.shape
    torch.testing.assert_close(output, expected)
    seed = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, leaves, seed)
    got = torch.autograd.grad(output, leaves, seed)
    for mine, theirs in zip(got, wanted):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize('size', KERNELS)
@pytest.mark.parametrize('groups', [1, 4, 8])
@pytest.mark.parametrize('extra', ['MN', 'MN+7', '4MN'])
def test_kernel_composition_is_feature_composition(extra, groups, size):
    torch.manual_seed(0)
    taps = size[0] * size[1]
    d_mul = {'MN': taps, 'MN+7': taps + 7, '4MN': 4 * taps}[extra]
    padding = (size[0] // 2, size[1] // 2)
    conv = DOConv2d(8, 16, size, (2, 1), padding, groups=groups, d_mul=d_mul)
    assert_compositions_equal(randomise(conv), torch.randn(2, 8, 8, 7).double())


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_kernel_composition_is_feature_composition_in_any_case(data):
    """Even and rectangular kernels, strides, dilations, any channel counts, empty batches."""
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    groups = draw(st.sampled_from([1, 2, 3]))
    inputs, outputs = (groups * draw(st.integers(1, 4)) for _ in range(2))
    sizes = st.sampled_from([(1, 2), (2, 2), (3, 1), (3, 3), (2, 5)])
    size, (stride, padding, dilation) = draw(sizes), draw(st.tuples(*[st.integers(1, 2)] * 3))
    taps = size[0] * size[1]
    d_mul = draw(st.integers(taps, 3 * taps))
    conv = DOConv2d(
        inputs,
        outputs,
        size,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        d_mul=d_mul,
    )
    x = torch.randn(draw(st.integers(0, 2)), inputs, *draw(st.sampled_from([(9, 9), (10, 12)])))
    assert_compositions_equal(randomise(conv), x.double())


@pytest.mark.parametrize('size', KERNELS)
@pytest.mark.parametrize('groups', [1, 4, 8])
def test_starts_as_the_plain_convolution_to_the_bit(groups, size):
    conv = DOConv2d(8, 16, size, 2, 1, groups=groups)
    assert conv.weight.shape == (16, 8 // groups, *size)
    x = torch.randn(2, 8, 12, 11)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, 2, 1, 1, groups))


@pytest.mark.parametrize('d_mul', [9, 16, 20, 36])
def test_starts_as_the_sum_of_whole_identity_blocks(d_mul):
    conv = DOConv2d(4, 6, 3, d_mul=d_mul)
    expected = conv.weight.flatten(2).double() @ naive_identity(9, d_mul).T
    torch.testing.assert_close(conv.folded_weight().double().flatten(2), expected)


def test_weight_decay_pulls_d_towards_the_identity():
    """W shrinks as in the plain layer; D never leaves the identity, or comes back to it."""
    torch.manual_seed(0)
    conv, moved = DOConv2d(4, 8, 3), DOConv2d(4, 8, 3)
    nn.init.normal_(moved.depthwise)
    before, size = conv.weight.detach().clone(), moved.depthwise.detach().clone()
    parameters = [*conv.parameters(), *moved.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.5, momentum=0.0, weight_decay=0.2)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(5):
        optimizer.step()
    assert torch.equal(conv.depthwise, torch.zeros_like(conv.depthwise))
    torch.testing.assert_close(conv.weight, before * 0.9**5)
    assert torch.equal(conv.folded_weight(), conv.weight)
    torch.testing.assert_close(moved.depthwise, size * 0.9**5)


@pytest.mark.parametrize('d_mul', [None, 15])
@pytest.mark.parametrize('groups', [1, 2])
def test_folds_into_a_plain_convolution(groups, d_mul):
    torch.manual_seed(0)
    conv = DOConv2d(4, 8, (3, 3), 2, (1, 0), 2, groups, d_mul=d_mul, padding_mode='reflect')
    nn.init.normal_(conv.depthwise)
    x = torch.randn(2, 4, 11, 9)
    plain = conv.eval().fuse()
    assert type(plain) is nn.Conv2d
    assert not plain.training
    assert torch.equal(plain(x), conv(x))
    assert plain.state_dict().keys() == nn.Conv2d(4, 8, 3).state_dict().keys()
    same = nn.Conv2d(4, 8, 3, 2, (1, 0), 2, groups, padding_mode='reflect')
    same.load_state_dict(plain.state_dict())
    assert torch.equal(same(x), conv(x))
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert not plain.weight.grad_fn


def test_folds_to_rounding():
    """In float32, against feature composition in float64."""
    torch.manual_seed(0)
    conv = DOConv2d(16, 32, 3, padding=1)
    nn.init.normal_(conv.depthwise)
    x = torch.randn(2, 16, 9, 9)
    expected = feature_composition(x.double(), copy.deepcopy(conv).double())
    assert (conv.fuse()(x) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_folding_leaves_the_layer_as_it_was():
    conv = DOConv2d(4, 4, 3)
    nn.init.normal_(conv.depthwise)
    before = copy.deepcopy(conv.state_dict())
    nn.init.zeros_(conv.fuse().weight)
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())


@pytest.mark.parametrize('name', ['weight', 'depthwise'])
def test_folding_of_diverged_weights_is_refused(name):
    conv = DOConv2d(4, 4, 3)
    getattr(conv, name).data.view(-1)[5] = float('nan')
    with pytest.raises(ValueError, match='NaN or infinite'):
        conv.fuse()


def test_plain_checkpoint_loads_strictly():
    plain, conv = nn.Conv2d(4, 8, 3), DOConv2d(4, 8, 3)
    nn.init.normal_(conv.depthwise)
    result = conv.load_state_dict(plain.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(conv(x), plain(x))


def test_own_checkpoint_round_trip():
    conv, twin = (DOConv2d(4, 8, 3, d_mul=12) for _ in range(2))
    nn.init.normal_(conv.depthwise)
    assert set(conv.state_dict()) == {'weight', 'bias', 'depthwise'}
    twin.load_state_dict(conv.state_dict())
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(twin(x), conv(x))


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize(
    ('saved', 'built', 'message'),
    [
        (nn.Conv2d(4, 8, 3), {'d_mul': 12}, r'plain checkpoint .* d_mul is 9.* here it is 12'),
        (DOConv2d(4, 8, 3, d_mul=12), {}, r'\(9, 12, 4\).*\(9, 9, 4\).*another d_mul'),
        (DOConv2d(4, 8, 3), {'d_mul': 12}, r'\(9, 9, 4\).*\(9, 12, 4\).*another d_mul'),
    ],
)
def test_another_d_mul_is_refused_by_name(saved, built, message, strict):
    network = nn.ModuleDict({'stage': DOConv2d(4, 8, 3, **built)})
    state = {f'stage.{key}': value for key, value in saved.state_dict().items()}
    with pytest.raises(ValueError, match=f"'stage': .*{message}"):
        network.load_state_dict(state, strict=strict)


def test_random_init_is_hes_and_has_no_identity():
    """The paper's ablation."""
    torch.manual_seed(0)
    conv = DOConv2d(256, 4, 3, init='random')
    # Fan-in MN = 9 of each column.
    assert conv.depthwise.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.02)
    assert abs(conv.depthwise.mean().item()) < 0.01
    expected = torch.einsum('idc,ocd->oci', conv.depthwise, conv.weight.flatten(2))
    torch.testing.assert_close(conv.folded_weight().flatten(2), expected)


def test_plain_checkpoint_does_not_pass_for_a_random_d():
    conv = DOConv2d(4, 8, 3, init='random')
    result = conv.load_state_dict(nn.Conv2d(4, 8, 3).state_dict(), strict=False)
    assert result.missing_keys == ['depthwise']


def test_autocast_composes_in_float32():
    """A small D' beside the identity is lost in bfloat16, which has 8 bits."""
    torch.manual_seed(0)
    conv = DOConv2d(4, 8, 3, padding=1)
    nn.init.constant_(conv.depthwise, 2.0**-10)
    outside = conv.folded_weight()
    x = torch.randn(1, 4, 6, 6)
    with torch.autocast('cpu', torch.bfloat16):
        inside, output = conv.folded_weight(), conv(x)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    moved = conv.weight.flatten(2).double().sum(2) * 2.0**-10
    got = (inside.double() - conv.weight.double()).flatten(2)
    torch.testing.assert_close(got, moved[:, :, None].expand_as(got), rtol=1e-3, atol=1e-7)
    assert output.dtype == torch.bfloat16
    with torch.autocast('cpu', torch.bfloat16):
        expected = F.conv2d(x, outside, conv.bias, 1, 1)
    assert torch.equal(output, expected)


def test_low_precision_weights_are_composed_in_float32():
    torch.manual_seed(0)
    conv = DOConv2d(4, 8, 3, padding=1)
    nn.init.normal_(conv.depthwise, std=2.0**-9)
    conv.bfloat16()
    assert conv.folded_weight().dtype == torch.float32
    exact = copy.deepcopy(conv).double().folded_weight()
    torch.testing.assert_close(conv.folded_weight().double(), exact, rtol=1e-5, atol=1e-6)
    assert conv(torch.randn(1, 4, 6, 6).bfloat16()).dtype == torch.bfloat16
    assert conv.fuse().weight.dtype == torch.bfloat16


def test_gradcheck():
    torch.manual_seed(0)
    conv = randomise(DOConv2d(4, 4, (2, 3), 2, 1, groups=2, d_mul=7))
    x = torch.randn(1, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight, depthwise, bias: torch.func.functional_call(
            conv, {'weight': weight, 'depthwise': depthwise, 'bias': bias}, (x,)
        ),
        (x, conv.weight, conv.depthwise, conv.bias),
    )


@pytest.fixture(params=[None, 12])
def conv(request):
    torch.manual_seed(0)
    conv = DOConv2d(4, 8, 3, padding=1, groups=2, d_mul=request.param)
    nn.init.normal_(conv.depthwise, std=0.1)
    return conv


def test_channels_last_is_kept(conv):
    x = torch.randn(2, 4, 9, 9)
    output = copy.deepcopy(conv)(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, conv(x))


def test_compiles_whole_and_equals_eager(conv):
    x = torch.randn(1, 4, 8, 8)
    compiled = torch.compile(conv, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), conv(x))


def test_exports_and_equals_eager(conv):
    x = torch.randn(1, 4, 8, 8)
    exported = torch.export.export(conv, (x,))
    program = exported.module() if hasattr(exported, 'module') else exported
    torch.testing.assert_close(program(x), conv(x))


def test_moves_and_copies(conv):
    x = torch.randn(1, 4, 6, 6)
    twin = copy.deepcopy(conv).double()
    torch.testing.assert_close(twin(x.double()).float(), conv(x))
    with torch.no_grad():
        twin.depthwise.zero_()
    assert conv.depthwise.abs().sum() > 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'kernel_size': 3, 'd_mul': 8}, 'from 9 up.*got 8'),
        ({'kernel_size': (5, 3), 'd_mul': 9}, 'from 15 up.*got 9'),
        ({'kernel_size': 3, 'd_mul': 9.0}, 'whole number.*got 9.0'),
        ({'kernel_size': 3, 'd_mul': True}, 'whole number.*got True'),
        ({'kernel_size': 3, 'init': 'zeros'}, "init must be one of .*'identity'.*got 'zeros'"),
    ],
)
def test_what_do_conv_cannot_do_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DOConv2d(4, 4, **arguments)
