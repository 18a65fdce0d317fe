"""The only place in the package where a convolution of a network is replaced."""

from collections import defaultdict
from typing import Callable, Dict, List, Optional, Tuple, Type, Union

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmic.wrappers import named_parts

# Classes with a forward of their own that compute what nn.Conv2d does, by full name; mmcv's takes
# empty batches where torch before 1.5 does not.
SAME_FUNCTION = ('mmcv.cnn.bricks.wrappers.Conv2d',)
HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')


def swap_convs(
    model: nn.Module,
    replace: Callable[[str, nn.Conv2d], Optional[nn.Module]],
    select: Optional[Callable[[str, nn.Conv2d], bool]] = None,
    known: Union[Type[nn.Conv2d], Tuple[Type[nn.Conv2d], ...]] = (),
) -> nn.Module:
    """Replace convolutions of a network in place, by name.

    A replacement inherits what it can hold: every parameter of the old convolution whose
    name and shape it shares is taken over as the same object (so ``requires_grad``, device,
    dtype and ties survive), its other parameters follow the weight's device, dtype and
    ``requires_grad``, and it takes over the training flag. A convolution that stands in
    several places is replaced once, by one module. Nothing is changed where one is refused.
    Names are those of the network inside of wrappers (``torch.compile``, ``DataParallel``).

    Args:
        model (nn.Module): The network. It may itself be a convolution.
        replace (Callable[[str, nn.Conv2d], nn.Module | None]): Makes the replacement from a
            convolution and its name; None leaves the convolution.
        select (Callable[[str, nn.Conv2d], bool], optional): Which convolutions ``replace`` is
            asked about. Defaults to None: all.
        known (type | tuple[type, ...]): Classes that compute more than ``nn.Conv2d`` and that
            ``replace`` makes equals of, dilations and ties included. Defaults to ``()``.

    Returns:
        nn.Module: ``model``, or its replacement where the model is itself a convolution.

    Raises:
        ValueError: A replacement would change what a convolution computes, or lose something of
            it: a subclass with a forward of its own, hooks, parametrizations (weight norm,
            pruning), a parameter that another layer shares; the message names the layer. Or the
            network is wrapped for several processes already, which know the parameters.
    """
    known = known if isinstance(known, tuple) else (known,)
    _check_unwrapped(model)
    # Collected before anything changes, so that a replacement is not replaced again. A
    # module in several places is listed once under each name.
    places = _places(model)
    owners = _parameter_owners(model)
    swapped = {}
    for name, _, conv in places:
        if id(conv) in swapped or not (select is None or select(name, conv)):
            continue
        problem = refusal(name, conv, known)
        try:
            new = replace(name, conv)
        except Exception:
            # What a layer's constructor says of a foreign convolution is beside the point.
            if problem is not None:
                raise ValueError(problem) from None
            raise
        if new is not None and new is not conv:
            if problem is not None:
                raise ValueError(problem)
            _inherit(conv, new)
            if not isinstance(conv, known):
                _check_ties(name, conv, new, owners)
        swapped[id(conv)] = conv if new is None else new
    for _, path, conv in places:
        new = swapped.get(id(conv), conv)
        if path == '':
            return new
        parent, _, attribute = path.rpartition('.')
        setattr(model.get_submodule(parent), attribute, new)
    return model


def named_convs(model: nn.Module) -> List[Tuple[str, nn.Conv2d]]:
    """List ``(name, conv)`` of all ``nn.Conv2d``, a shared one once under each of its names.

    Wrappers as of ``torch.compile`` are not in the names.
    """
    return [(name, conv) for name, _, conv in _places(model)]


def _places(model: nn.Module) -> List[Tuple[str, str, nn.Conv2d]]:
    return [part for part in named_parts(model) if isinstance(part[2], nn.Conv2d)]


def _check_unwrapped(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, DistributedDataParallel) or '_fsdp_wrapped_module' in module._modules:
            where = f'{name!r} is' if name else 'The network is'
            raise ValueError(
                f'{where} wrapped in {type(module).__name__}, which knows its parameters already; '
                'replace convolutions before wrapping it.'
            )


def refusal(name: str, conv: nn.Conv2d, known: Tuple[Type[nn.Conv2d], ...] = ()) -> Optional[str]:
    """Say why a convolution cannot be replaced; None where it computes what ``nn.Conv2d`` does.

    Args:
        name (str): The layer's name, for the message.
        conv (nn.Conv2d): The convolution.
        known (tuple[type, ...]): See ``swap_convs``. Defaults to ``()``.
    """
    kind = f'{type(conv).__module__}.{type(conv).__qualname__}'
    leave = 'leave it out (`select`)'
    if torch.nn.utils.parametrize.is_parametrized(conv) or (
        any(getattr(conv, hooks, None) for hooks in HOOKS) and not _is_lazy(conv)
    ):
        return (
            f'Convolution {name!r} carries hooks or a parametrization (weight norm, pruning?) '
            'that its replacement would lose; remove them before the swap or leave it out.'
        )
    if _is_lazy(conv):
        return (
            f'Layer {name!r} ({kind}) has no weight yet: run a batch through the network before '
            'the swap.'
        )
    foreign = [call for call in ('forward', '_conv_forward', '__call__') if _own(conv, call, known)]
    if foreign and any(base.__module__.startswith('mmic.') for base in type(conv).__mro__):
        fused = ', or fuse it first (mmic.deploy.fuse)' if hasattr(conv, 'fuse') else ''
        return (
            f'Layer {name!r} is {kind} already, and its replacement would lose what that adds to '
            f'a plain convolution. Swap the plain network{fused}, or {leave}.'
        )
    if foreign:
        return (
            f'Layer {name!r} is {kind}, whose own {foreign[0]} may compute more than nn.Conv2d '
            f'(weight standardisation, padding?); its replacement would lose that: {leave}.'
        )
    if isinstance(conv, known):
        return None
    weight = conv._parameters.get('weight')
    shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel_size)
    if weight is None or tuple(weight.shape) != shape:
        found = 'none' if weight is None else f'of shape {tuple(weight.shape)}'
        return (
            f'Layer {name!r} ({kind}) should have a weight parameter of shape {shape}, has {found} '
            f'(pruned?): {leave}.'
        )
    if conv.bias is not None and tuple(conv.bias.shape) != shape[:1]:
        return f'Layer {name!r} ({kind}) has a bias of shape {tuple(conv.bias.shape)}: {leave}.'
    if not weight.is_floating_point():
        return f'Layer {name!r} ({kind}) has weights of {weight.dtype}, not real numbers: {leave}.'
    return None


def _is_lazy(conv: nn.Conv2d) -> bool:
    return isinstance(conv._parameters.get('weight'), nn.UninitializedParameter)


def _own(conv: nn.Conv2d, call: str, known: Tuple[Type[nn.Conv2d], ...]) -> bool:
    """Whether a method is neither ``nn.Conv2d``'s nor that of a class known to do the same."""
    definer = next(kind for kind in type(conv).__mro__ if call in vars(kind))
    familiar = (
        issubclass(nn.Conv2d, definer)
        or f'{definer.__module__}.{definer.__qualname__}' in SAME_FUNCTION
        or any(isinstance(conv, kind) and issubclass(kind, definer) for kind in known)
    )
    return call in vars(conv) or not familiar


def _parameter_owners(model: nn.Module) -> Dict[int, List[str]]:
    """Names under which each parameter stands, by its id; one name for a module in many places."""
    owners = defaultdict(list)
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                owners[id(parameter)].append(f'{name}.{key}' if name else key)
    return owners


def _check_ties(name: str, conv: nn.Conv2d, new: nn.Module, owners: Dict[int, List[str]]) -> None:
    """Raise unless layers that share a parameter do so afterwards, and compute with it alone."""
    added = {key for key, _ in new.named_parameters()} - conv._parameters.keys()
    for key, parameter in conv._parameters.items():
        tied = [] if parameter is None else owners[id(parameter)]
        if len(tied) < 2:
            continue
        if new._parameters.get(key) is not parameter or (key == 'weight' and added):
            raise ValueError(
                f'Layer {name!r}: its {key} is shared ({", ".join(tied)}), and a '
                f'{type(new).__name__} has parameters of its own. Share the whole convolution '
                'instead (one module in several places), untie them, or leave it out (`select`).'
            )


def _inherit(old: nn.Conv2d, new: nn.Module) -> None:
    for name, parameter in list(new.named_parameters()):
        kept = old._parameters.get(name)
        if kept is not None and kept.shape == parameter.shape:
            setattr(new, name, kept)
        else:
            parameter.requires_grad_(old.weight.requires_grad)
    if not old.weight.is_meta:
        new.to(old.weight.device, old.weight.dtype)
    new.train(old.training)
