"""The only place in the package where a convolution of a network is replaced."""

import torch
from torch import nn


def swap_convs(model, replace, select=None):
    """Replace convolutions of a network in place, by name.

    A replacement inherits what it can hold: every parameter of the old convolution whose
    name and shape it shares is taken over as the same object (so ``requires_grad``, device,
    dtype and ties survive), its other parameters follow the weight's device, dtype and
    ``requires_grad``, and it takes over the training flag. A convolution that stands in
    several places is replaced once, by one module.

    Args:
        model (nn.Module): The network. It may itself be a convolution.
        replace (Callable[[str, nn.Conv2d], nn.Module | None]): Makes the replacement from a
            convolution and its name; None leaves the convolution.
        select (Callable[[str, nn.Conv2d], bool], optional): Which convolutions ``replace`` is
            asked about. Defaults to None: all.

    Returns:
        nn.Module: ``model``, or its replacement where the model is itself a convolution.

    Raises:
        ValueError: A selected convolution carries hooks or parametrizations (weight norm,
            pruning), which a replacement would drop silently.
    """
    # Collected before anything changes, so that a replacement is not replaced again. A
    # module in several places is listed once under each name.
    places = named_convs(model)
    swapped = {}
    for name, conv in places:
        if id(conv) in swapped or not (select is None or select(name, conv)):
            continue
        new = replace(name, conv)
        if new is not None and new is not conv:
            _check_plain(name, conv)
            _inherit(conv, new)
        swapped[id(conv)] = conv if new is None else new
    for name, conv in places:
        new = swapped.get(id(conv), conv)
        if name == '':
            return new
        parent, _, attribute = name.rpartition('.')
        setattr(model.get_submodule(parent), attribute, new)
    return model


def named_convs(model):
    """List ``(name, conv)`` of all ``nn.Conv2d``, a shared one once under each of its names."""
    return [
        (name, module)
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Conv2d)
    ]


def _check_plain(name, conv):
    hooks = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')
    if torch.nn.utils.parametrize.is_parametrized(conv) or any(
        getattr(conv, attribute, None) for attribute in hooks
    ):
        raise ValueError(
            f'Convolution {name!r} carries hooks or a parametrization (weight norm, pruning?) '
            'that its replacement would lose; remove them before the swap or leave it out.'
        )


def _inherit(old, new):
    for name, parameter in list(new.named_parameters()):
        kept = old._parameters.get(name)
        if kept is not None and kept.shape == parameter.shape:
            setattr(new, name, kept)
        else:
            parameter.requires_grad_(old.weight.requires_grad)
    if not old.weight.is_meta:
        new.to(old.weight.device, old.weight.dtype)
    new.train(old.training)
