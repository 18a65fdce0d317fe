"""``fuse``: the fastest network for inference that computes the same."""

import copy
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmic import supernet
from mmic.deploy.flow import CHANNELWISE, CHANNELWISE_FUNCTIONS, Calls, has_hooks, trace
from mmic.layers import DOConv2d
from mmic.layers.fused_conv import (
    DILATED,
    count_gathers,
    fused_conv,
    take_apart,
    wanted_inputs,
)
from mmic.swap import swap_convs

SUPERNET = tuple(getattr(supernet, name) for name in supernet.__all__)


class SupernetError(ValueError):
    """The network is still to be searched."""


def refuse_supernet(model):
    """Raise if a network holds layers to search with.

    Raises:
        SupernetError: With the first layer's name.
    """
    for name, module in model.named_modules():
        if isinstance(module, SUPERNET):
            raise SupernetError(
                f'Layer {name!r} is a {type(module).__name__}: the network is a supernet, to be '
                'searched and not to be shipped. Search its dilations, train the searched '
                'network, and deploy that.'
            )


def fuse(model, fold_bn=True):
    """Make the fastest network for inference that computes the same.

    DO-Conv is folded into plain convolutions, batch normalisation into the convolutions before
    it, and the reordering of channels that layers of several dilations need into their
    neighbours; each only where the code shows that nothing else sees what changes. No mm*
    package is needed.

    Args:
        model (nn.Module): Any network; it is left as it is.
        fold_bn (bool): False keeps batch normalisation, so that a DO network's state dict has
            exactly the plain network's keys. Defaults to True.

    Returns:
        nn.Module: A copy in eval mode, for inference alone.

    Raises:
        SupernetError: The network is still to be searched; the message names the layer.
        ValueError: A layer that must be replaced carries hooks or has diverged weights.
    """
    refuse_supernet(model)
    fused = copy.deepcopy(model)
    fused.eval()  # MMDetection's backbones return nothing here
    for module in fused.modules():
        _switch_off_efficient_bn(module)
    parts = [Calls(prefix, graph) for prefix, graph in trace(copy.deepcopy(fused))]
    read = set().union(*(calls.read for calls in parts))

    def replaceable(classes):
        return lambda name, conv: isinstance(conv, classes) and name not in read

    fused = swap_convs(fused, _fold_do, replaceable(DOConv2d), DOConv2d)
    own = _Own(fused)
    if fold_bn:
        for calls in parts:
            _fold_batch_norms(fused, calls, own)
    inputs, outputs = {}, {}
    for calls in parts:
        for name in calls.nodes:
            _absorb_order(fused, calls, own, name, inputs, outputs)

    def arrange(name, conv):
        return _hand_over(conv, fused_conv(conv, inputs.get(name), outputs.get(name)))

    return swap_convs(fused, arrange, replaceable(DILATED), DILATED)


def _switch_off_efficient_bn(module):
    """Switch off mmcv's own way around batch norm, which is the same in eval mode."""
    if getattr(module, 'efficient_conv_bn_eval_forward', None) is not None:
        module.efficient_conv_bn_eval_forward = None


def _fold_do(name, conv):
    try:
        return _hand_over(conv, conv.fuse())
    except ValueError as error:
        raise ValueError(f'Layer {name!r}: {error}') from None


def _hand_over(conv, new):
    """Give a convolution its replacement's parameters: ``swap_convs`` passes those on."""
    for name, parameter in new.named_parameters(recurse=False):
        setattr(conv, name, parameter)
    return new


class _Own:
    """Tells which modules of a network may be changed: those that nobody else knows of."""

    def __init__(self, model):
        modules = [module for _, module in model.named_modules(remove_duplicate=False)]
        self.places = Counter(map(id, modules))
        kept = [p for m in model.modules() for p in m._parameters.values() if p is not None]
        self.holders = Counter(map(id, kept))

    def __call__(self, module):
        """Whether a module stands in one place, shares no parameter and carries no hook."""
        tied = any(self.holders[id(p)] > 1 for p in module.parameters(recurse=False))
        parametrized = nn.utils.parametrize.is_parametrized(module)
        return self.places[id(module)] == 1 and not (tied or parametrized or has_hooks(module))


def _is_plain(module):
    """Whether a module is a convolution that does what ``nn.Conv2d`` does."""
    return (
        isinstance(module, nn.Conv2d)
        and type(module).forward is nn.Conv2d.forward
        and type(module)._conv_forward is nn.Conv2d._conv_forward
    )


def _is_batch_norm(module):
    """Whether a module is batch normalisation with fixed statistics, as torch computes it."""
    return (
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        and type(module).forward in (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)
        and module.running_mean is not None
        and not module.training
    )


def _fold_batch_norms(model, calls, own):
    """Fold batch normalisation into the convolutions whose outputs it alone reads."""
    for name in list(calls.nodes):
        conv, reader = model.get_submodule(name), calls.only_reader(name)
        # All of these have one weight whose rows are output channels.
        if reader is None or not (_is_plain(conv) or isinstance(conv, DILATED)):
            continue
        norm = model.get_submodule(reader)
        if not _is_batch_norm(norm):
            continue
        if calls.read & {name, reader} or not (own(conv) and own(norm)):
            continue
        _fold(conv, norm)
        parent, _, attribute = reader.rpartition('.')
        setattr(model.get_submodule(parent), attribute, nn.Identity().eval())


@torch.no_grad()
def _fold(conv, norm):
    def exact(value):
        return None if value is None else value.double()

    weight, bias = fuse_conv_bn_weights(
        exact(conv.weight),
        exact(conv.bias),
        exact(norm.running_mean),
        exact(norm.running_var),
        norm.eps,
        exact(norm.weight),
        exact(norm.bias),
    )
    conv.weight.copy_(weight)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), conv.weight.requires_grad)


def _absorb_order(model, calls, own, name, inputs, outputs):
    """Choose the order of the channels between two convolutions that needs fewest gathers.

    The convolution ``name`` must be followed by another through operations on single channels
    alone. Plain neighbours are permuted here; orders that layers of several dilations must be
    built with go to ``inputs`` and ``outputs``.
    """
    first, norms, target = _next_conv(model, calls, own, name)
    if target is None:
        return
    second = model.get_submodule(target)
    identity = list(range(first.out_channels))
    made = take_apart(first).order if isinstance(first, DILATED) else None
    parts = take_apart(second) if isinstance(second, DILATED) else None
    candidates = [identity] if made is None else [identity, made]
    if parts is not None:
        candidates += wanted_inputs(parts)

    def cost(order):
        gathers = 0 if parts is None else count_gathers(parts, order)
        return gathers + (made is not None and made != order)

    order = min(candidates, key=cost)
    if order == identity:
        return
    if made is None:
        _permute([first.weight, first.bias], order)
    else:
        outputs[name] = order
    for norm in norms:
        _permute([norm.weight, norm.bias, norm.running_mean, norm.running_var], order)
    if parts is None:
        _permute([second.weight], order, dim=1)
    else:
        inputs[target] = order


def _next_conv(model, calls, own, name):
    """The convolution ``name``, the norms after it, and the name of the convolution they feed.

    Returns:
        tuple[nn.Module, list[nn.Module], str | None]: None where the order of the channels
        between may be seen by anything else.
    """

    def usable(name):
        conv = model.get_submodule(name)
        alone = len(calls.nodes[name]) == 1 and name not in calls.read and own(conv)
        return alone and (isinstance(conv, DILATED) or (_is_plain(conv) and conv.groups == 1))

    first, norms = model.get_submodule(name), []
    if not usable(name):
        return first, norms, None
    node = calls.reader(calls.nodes[name][0])
    while node is not None:
        target = calls.name(node)
        if target is None:
            if node.op != 'call_function' or node.target not in CHANNELWISE_FUNCTIONS:
                break
        else:
            module = model.get_submodule(target)
            if isinstance(module, nn.Conv2d):
                return first, norms, target if usable(target) else None
            if _is_batch_norm(module):
                if len(calls.nodes[target]) > 1 or target in calls.read or not own(module):
                    break
                norms.append(module)
            elif type(module) not in CHANNELWISE or has_hooks(module):
                break
        node = calls.reader(node)
    return first, norms, None


@torch.no_grad()
def _permute(tensors, order, dim=0):
    for tensor in tensors:
        if tensor is not None:
            index = torch.tensor(order, device=tensor.device)
            tensor.copy_(tensor.index_select(dim, index))
