"""Supernet layers do what torch and its tools do with a plain ``nn.Conv2d``."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmic.supernet import ChoiceConv2d, MixedConv2d, WideConv2d

C = 8
MIXED = dict(genotypes=[1, 2, 3], num_groups=4)
LAYERS = {
    'wide': lambda: WideConv2d(C, C, 3, padding=1, d_max=2),
    'choice': lambda: ChoiceConv2d(C, C, 3, padding=1),
    'mixed, auto': lambda: MixedConv2d(C, C, 3, padding=1, **MIXED),
    'mixed, kernel': lambda: MixedConv2d(C, C, 3, padding=1, mode='kernel', **MIXED),
    'mixed, features': lambda: MixedConv2d(C, C, 3, padding=1, mode='features', **MIXED),
}


def reference(layer, x):
    """The output by ``F.conv2d``: one of a wide kernel, of a choice, or of each candidate."""
    if isinstance(layer, WideConv2d):
        return F.conv2d(x, layer.weight, layer.bias, 1, 2)
    if isinstance(layer, ChoiceConv2d):
        return F.conv2d(x, layer.weights[1], layer.bias, 1, 2, 2)
    shares = layer.alpha.softmax(1).repeat_interleave(C // 4, 0)  # (C_out, genotypes)
    total = layer.bias[:, None, None]
    for index, rate in enumerate((1, 2, 3)):
        output = F.conv2d(x, layer.weights[index], None, 1, rate, rate)
        total = total + shares[:, index, None, None] * output
    return total


@pytest.fixture(params=sorted(LAYERS))
def layer(request):
    torch.manual_seed(0)
    layer = LAYERS[request.param]()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    if isinstance(layer, ChoiceConv2d):
        layer.select(2)
    return layer


@pytest.fixture
def x():
    return torch.randn(2, C, 11, 9, generator=torch.Generator().manual_seed(1))


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_images_without_a_batch_are_taken(layer, x):
    image = x[0].clone().requires_grad_()
    assert_same(layer(image), reference(layer, x)[0])
    (found,) = torch.autograd.grad(layer(image).square().sum(), image)
    (expected,) = torch.autograd.grad(reference(layer, image[None]).square().sum(), image)
    assert_same(found, expected)


def test_graphs_and_compiled_programs_compute_the_same(layer, x):
    expected = reference(layer, x)
    assert_same(torch.fx.symbolic_trace(nn.Sequential(layer))(x), expected)
    torch._dynamo.reset()
    assert_same(torch.compile(layer, backend='aot_eager')(x), expected)
    with torch.no_grad():
        assert_same(torch.jit.trace(layer, x)(x), expected)


def test_functions_of_torch_follow_the_layer(layer, x):
    parameters = {key: value.detach() for key, value in layer.named_parameters()}

    def loss(parameters):
        return torch.func.functional_call(layer, parameters, (x,)).square().mean()

    found = torch.func.grad(loss)(parameters)
    reference(layer, x).square().mean().backward()
    for key, value in layer.named_parameters():
        assert_same(found[key], torch.zeros_like(value) if value.grad is None else value.grad)
    with torch.no_grad():
        images = torch.stack([x, 2 * x])
        assert_same(torch.func.vmap(layer)(images)[0], reference(layer, x))


def test_dilations_survive_averages_and_the_meta_device(layer, x):
    expected = reference(layer, x)
    born = copy.deepcopy(layer).to('meta')
    born.load_state_dict(layer.state_dict(), assign=True)
    assert_same(born(x), expected)
    mean = copy.deepcopy(layer)
    for own, new in zip(mean.state_dict().values(), layer.state_dict().values()):
        own.copy_(0.9995 * own + 0.0005 * new)
    layer.load_state_dict(mean.state_dict())
    assert_same(layer(x), expected)
