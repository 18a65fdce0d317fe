"""What every layer must do: whatever torch and its tools do with a plain ``nn.Conv2d``.

The expected output is that of one convolution of torch for each kernel, or for each filter.
"""

import copy
import io
import os
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
from helpers import tool_environment
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from mmic.deploy import fuse
from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.layers.fused_conv import FusedConv2d
from mmic.pattern import PatternError

C, SIZE = 16, (26, 25)
PAIRS = [(1, 1), (2, 3)] * (C // 2)
LAYERS = {
    'IC, position': lambda **k: ICConv2d(C, C, 3, padding=1, dilations=PAIRS, **k),
    'IC, sorted': lambda **k: ICConv2d(C, C, 3, padding=1, dilations=sorted(PAIRS), **k),
    'IC, groups': lambda **k: ICConv2d(C, C, 3, padding=1, groups=4, dilations=PAIRS, **k),
    'PS': lambda **k: PSConv2d(C, C, 3, padding=1, **k),
    'PS, groups': lambda **k: PSConv2d(C, C, 3, padding=1, groups=4, **k),
    'PS, masked': lambda **k: MaskedPSConv2d(C, C, 3, padding=1, **k),
    'DO': lambda **k: DOConv2d(C, C, 3, padding=1, **k),
    'DO, groups': lambda **k: DOConv2d(C, C, 3, padding=1, groups=4, d_mul=12, **k),
}


def build(name, **options):
    torch.manual_seed(0)
    layer = LAYERS[name](**options)
    if isinstance(layer, DOConv2d) and not layer.weight.is_meta:
        nn.init.normal_(layer.depthwise, std=0.2)
    return layer


def rates_of(layer):
    """``(d_h, d_w)`` of each kernel, (C_out, C_in / groups, 2), from what the layer was given."""
    depth = C // layer.groups
    if isinstance(layer, ICConv2d):
        pairs = PAIRS if layer.plan_in_position else sorted(PAIRS)
        return torch.tensor(pairs)[:, None].expand(C, depth, 2)
    if isinstance(layer, PSConv2d):
        rates = [[(1, 2, 1, 4)[(k - c) % 4] for k in range(depth)] for c in range(C)]
    else:
        outer, inner = ((mask > 0).long() for mask in (layer.mask_outer, layer.mask_inner))
        rates = (1 + torch.kron(outer, inner)).tolist()
    return torch.tensor(rates)[..., None].expand(C, depth, 2)


def reference(name, layer, x, weight=None, bias=None):
    """The output by one convolution for each kernel, of inputs (N, C, H, W)."""
    weight = layer.weight if weight is None else weight
    bias = layer.bias if bias is None else bias
    depth = C // layer.groups
    if isinstance(layer, DOConv2d):
        taps, d_mul, _ = layer.depthwise.shape
        identity = torch.eye(taps).repeat(1, 2)[:, :d_mul] * (torch.arange(d_mul) < taps)
        kernels = []
        for o in range(C):
            first = o // (C // layer.groups) * depth
            d = layer.depthwise[:, :, first : first + depth] + identity.to(x)[:, :, None]
            kernels.append(torch.einsum('tki,ik->it', d, weight[o].flatten(1)))
        kernel = torch.stack(kernels).unflatten(2, (3, 3))
        return F.conv2d(x, kernel, bias, padding=1, groups=layer.groups)
    layer.plan_in_position = name != 'IC, sorted'
    rates, outputs = rates_of(layer).tolist(), []
    for o in range(C):
        first, total = o // (C // layer.groups) * depth, bias[o]
        for k in range(depth):
            pair = tuple(rates[o][k])
            source, kernel = x[:, first + k : first + k + 1], weight[o : o + 1, k : k + 1]
            total = total + F.conv2d(source, kernel, None, 1, pair, pair)
        outputs.append(total)
    return torch.cat(outputs, 1)


@pytest.fixture(params=sorted(LAYERS))
def name(request):
    return request.param


@pytest.fixture
def layer(name):
    return build(name)


@pytest.fixture
def x():
    return torch.randn(2, C, *SIZE, generator=torch.Generator().manual_seed(1))


def assert_same(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_images_without_a_batch_are_taken(name, layer, x):
    assert_same(layer(x[0]), reference(name, layer, x)[0])


def test_empty_batch_has_the_shape_of_a_full_one(layer, x):
    assert layer(x[:0]).shape == (0, C, *SIZE)


def test_views_in_both_layouts(name, layer):
    wide = torch.randn(2, 2 * C, 2 * SIZE[0], SIZE[1])
    view = wide[:, ::2, ::2]
    for x in (view, view.contiguous(memory_format=torch.channels_last)):
        assert_same(layer(x), reference(name, layer, view))


def test_gradients_of_functions(name, layer, x):
    """``torch.func``: of parameters, batches of inputs and of parameters, forward mode."""
    parameters = {key: value.detach() for key, value in layer.named_parameters()}

    def loss(parameters):
        return torch.func.functional_call(layer, parameters, (x,)).square().mean()

    found = torch.func.grad(loss)(parameters)
    reference(name, layer, x).square().mean().backward()
    for key, value in layer.named_parameters():
        if value.grad is not None:
            assert_same(found[key], value.grad)
    with torch.no_grad():
        expected = reference(name, layer, x)
        images = torch.stack([x, 2 * x])
        assert_same(torch.func.vmap(layer)(images)[0], expected)
        several = {key: torch.stack([value, 2 * value]) for key, value in parameters.items()}
        call = torch.func.vmap(lambda each: torch.func.functional_call(layer, each, (x,)))
        assert_same(call(several)[0], expected)
    output, tangent = torch.func.jvp(layer, (x,), (torch.ones_like(x),))
    assert_same(output, expected)
    constant = layer(torch.ones_like(x)) - layer(torch.zeros_like(x))
    assert_same(tangent, constant)


def test_saved_tensors_may_be_packed_or_made_again(name, layer, x):
    from torch.utils.checkpoint import checkpoint

    x.requires_grad_()
    (expected,) = torch.autograd.grad(reference(name, layer, x).square().sum(), x)
    with torch.autograd.graph.save_on_cpu():
        output = layer(x)
    (found,) = torch.autograd.grad(output.square().sum(), x)
    assert_same(found, expected, 1e-3)
    for reentrant in (False, True):
        x.grad = None
        checkpoint(layer, x, use_reentrant=reentrant).square().sum().backward()
        assert_same(x.grad, expected, 1e-3)


@pytest.mark.parametrize('kind', ['assign', 'to_empty'])
def test_born_on_the_meta_device(name, layer, x, kind):
    with torch.device('meta'):
        born = build(name)
    if kind == 'to_empty':
        born.to_empty(device='cpu')
    born.load_state_dict(layer.state_dict(), assign=kind == 'assign')
    with torch.no_grad():
        assert_same(born(x), reference(name, layer, x))
    # In float64 no compiled code hides what the layer keeps beside its weights.
    born.double()
    assert_same(born(x.double()), reference(name, copy.deepcopy(layer).double(), x.double()))


def test_plain_checkpoint_fills_a_layer_from_the_meta_device(name, layer, x):
    if name in ('DO, groups', 'PS, masked'):
        pytest.skip('a plain checkpoint lacks a mask, and W of another d_mul')
    with torch.device('meta'):
        born = build(name)
    plain = nn.Conv2d(C, C, 3, padding=1, groups=layer.groups)
    born.load_state_dict(plain.state_dict(), assign=True)
    if isinstance(layer, DOConv2d):
        expected = plain(x)
    else:
        expected = reference(name, layer, x, plain.weight, plain.bias)
    assert_same(born(x), expected)


def test_copies_and_files_compute_the_same(name, layer, x):
    expected = reference(name, layer, x)
    layer(x)  # what is prepared at the first call is no part of a copy
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
    ):
        assert_same(other(x), expected)


def averages(layer):
    """The layer after averages of its state, or of its parameters and buffers, with itself."""
    from torch.optim.swa_utils import AveragedModel

    for decay in (0.9, 0.9995):
        mean = copy.deepcopy(layer)
        for own, new in zip(mean.state_dict().values(), layer.state_dict().values()):
            own.copy_(decay * own + (1 - decay) * new)
        yield mean
        mean = copy.deepcopy(layer)
        with torch.no_grad():
            for own, new in zip(mean.buffers(), layer.buffers()):
                own.copy_(decay * own + (1 - decay) * new)
        yield mean
    average = AveragedModel(layer, avg_fn=lambda a, b, n: 0.9995 * a + 0.0005 * b, use_buffers=True)
    for _ in range(3):
        average.update_parameters(layer)
    yield average.module


@pytest.mark.parametrize('name', ['IC, position', 'PS'], indirect=True)
def test_layer_whose_parameters_were_taken_away_is_moved(layer):
    """As FSDP does, which keeps the parameters of several modules in one."""
    expected = layer.dilations.clone()
    for parameter in ('weight', 'bias'):
        value = getattr(layer, parameter).detach()
        delattr(layer, parameter)
        setattr(layer, parameter, value)
    layer.double()
    assert torch.equal(layer.state_dict()['dilations'], expected)


def test_averaged_weights_compute_and_load(name, layer, x):
    expected = reference(name, layer, x)
    for mean in averages(layer):
        assert_same(mean(x), expected)
        fresh = build(name)
        fresh.load_state_dict(mean.state_dict())
        assert_same(fresh(x), expected)


def test_checkpoint_averaged_in_floating_point_loads(name, layer, x):
    states = [layer.state_dict() for _ in range(3)]
    mean = {key: sum(state[key].double() for state in states) / 3 for key in states[0]}
    fresh = build(name)
    fresh.load_state_dict(mean)
    assert_same(fresh(x), reference(name, layer, x))


@pytest.mark.parametrize('name', ['IC, position', 'PS'], indirect=True)
def test_other_dilations_are_still_refused(layer):
    state = layer.state_dict()
    state['dilations'][3] += 1
    with pytest.raises(PatternError, match='channel 3 has dilation'):
        layer.load_state_dict(state)


def test_fusers_that_build_a_plain_convolution_are_refused(layer):
    with pytest.raises(ValueError, match=f'{type(layer).__name__} cannot be rebuilt'):
        nn.Conv2d(C, C, 3, dilation=layer.dilation)
    with pytest.raises((TypeError, ValueError)):
        F.conv2d(torch.zeros(1, C, 9, 9), layer.weight, None, 1, 1, layer.dilation)
    assert repr(layer)


def random_norm():
    norm = nn.BatchNorm2d(C).eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def test_fuser_of_torch_gives_the_same(name, layer, x):
    if name == 'DO, groups':
        pytest.skip('W of another d_mul has no axes for a factor of four axes')
    norm = random_norm()
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(copy.deepcopy(layer).eval(), norm)
    assert_same(fused(x), norm(reference(name, layer, x)), 1e-3)


def test_graph_of_fx_computes_the_same(name, layer, x):
    net = nn.Sequential(layer, nn.ReLU()).eval()
    traced = torch.fx.symbolic_trace(net)
    assert_same(traced(x), reference(name, layer, x).relu())


def test_trace_and_compiled_program_compute_the_same(name, layer, x):
    with torch.no_grad():
        expected = reference(name, layer, x)
        assert_same(torch.jit.trace(layer, x)(x), expected)
        torch._dynamo.reset()
        whole = torch.compile(layer, backend='aot_eager', fullgraph=True)
        assert_same(whole(x), expected)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.library, 'custom_op'), reason='torch before 2.4')
@pytest.mark.parametrize('name', ['IC, position', 'PS', 'DO'], indirect=True)
def test_inductor_compiles_layers_with_a_bias(name, layer, x):
    torch._dynamo.reset()
    with torch.no_grad():
        assert_same(torch.compile(layer)(x), reference(name, layer, x))


def test_parametrizations_compute_with_their_weight(name, layer, x):
    if name == 'DO, groups':
        pytest.skip('spectral norm of a weight of three axes is another one')
    parametrizations.weight_norm(layer)
    assert_same(layer(x), reference(name, layer, x))
    pruned = build(name)
    prune.l1_unstructured(pruned, 'weight', 0.5)
    assert (pruned.weight == 0).sum() == pruned.weight.numel() // 2
    assert_same(pruned(x), reference(name, pruned, x))


def test_second_derivatives(name, layer):
    layer = layer.double()
    x = torch.randn(1, C, 5, 4, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(reference(name, layer, x).pow(3).sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    assert_same(found, expected)
    again = [torch.autograd.grad(g.square().sum(), x)[0] for g in (found, expected)]
    assert_same(*again)


def test_half_precision_by_autocast(name, layer, x):
    with torch.autocast('cpu', torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    assert_same(output.float(), reference(name, layer, x), 0.1)


def test_nothing_of_the_callers_changes(layer, x):
    """FSDP frees and fills the storages of parameters again, ``out=`` those of inputs."""
    output = layer(x)
    # A storage that is not resizable raises.
    for tensor in (layer.weight, layer.bias, x, output):
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        storage.resize_(0)
        storage.resize_(size)
    with torch.no_grad():
        torch.cat([torch.zeros(1, C, *SIZE)] * 3, out=x)


CHANGES = {
    'fewer filters': 'l.weight = P(l.weight[:12].clone()); l.bias = P(l.bias[:12].clone())',
    'fewer inputs': 'l.weight = P(l.weight[:, :2].clone())',
    'short bias': 'l.bias = P(torch.zeros(1))',
    'stride': 'l.stride = (2, 2)',
    'padding': 'l.padding = (2, 2)',
    'four axes': 'l.weight = P(l.weight * torch.ones(16, 1, 1, 1, 1))',
}


@pytest.mark.parametrize('name', ['IC, position', 'PS', 'PS, masked', 'DO'], indirect=True)
def test_layer_changed_after_it_was_built_is_refused(name, layer):
    """In a process of its own: memory was read out of bounds, and the interpreter crashed."""
    code = textwrap.dedent(
        """
        import sys, torch
        from torch.nn import Parameter as P
        sys.path.insert(0, {folder!r})
        import test_layer_contract as contract
        torch.set_grad_enabled(False)
        for change in contract.CHANGES.values():
            l = contract.build({name!r})
            exec(change)
            try:
                l(torch.randn(1, 16, 48, 48))
            except ValueError as error:
                assert type(l).__name__ in str(error), error
                print('refused')
        """
    ).format(folder=os.path.dirname(__file__), name=name)
    environment = tool_environment(PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['refused'] * len(CHANGES)


@pytest.mark.parametrize('name', ['IC, position', 'IC, sorted', 'PS'], indirect=True)
@pytest.mark.parametrize('how', ['operator', 'data', 'numpy'])
def test_fused_layer_computes_with_its_weights_as_they_are(name, layer, x, how):
    fused = fuse(nn.Sequential(layer))
    assert isinstance(fused[0], FusedConv2d)
    expected = 2 * reference(name, layer, x)
    with torch.no_grad():
        fused(x)
        for parameter in fused.parameters():
            if how == 'operator':
                parameter.mul_(2)
            elif how == 'data':
                parameter.data.mul_(2)
            else:
                parameter.detach().numpy()[...] *= 2
        assert_same(fused(x), expected)
        assert_same(fused(x[0]), expected[0])


def test_fused_layer_of_other_shapes_is_refused(x):
    fused = fuse(nn.Sequential(build('IC, position')))
    conv = fused[0].convs[0]
    conv.weight = nn.Parameter(conv.weight[:2].detach())
    with pytest.raises(ValueError, match='a weight has shape'):
        fused(x)
