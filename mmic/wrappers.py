"""Walk a network as if nothing were wrapped around it or its parts.

DDP, DataParallel, torch.compile, FSDP, activation checkpointing and averaged copies hold a network
as their only child, whose name then stands in front of, or inside, the names of all layers.
"""

from typing import Dict, Iterator, Optional, Tuple

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

# Names of the child, which no other module has: torch.compile, FSDP, activation checkpointing.
WRAPPED = ('_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')
# Classes whose child is called ``module``; mmengine's by name, as they need not be imported.
MODULE_WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)
MMENGINE_WRAPPERS = ('BaseAveragedModel', 'MMFullyShardedDataParallel')


def wrapped_child(module: nn.Module) -> Optional[str]:
    """Name of the child that a wrapper is around; None for what is no wrapper."""
    for name in WRAPPED:
        if name in module._modules:
            return name
    bases = {base.__name__ for base in type(module).__mro__ if base.__module__[:9] == 'mmengine.'}
    if isinstance(module, MODULE_WRAPPERS) or not bases.isdisjoint(MMENGINE_WRAPPERS):
        return 'module'
    return None


def named_parts(
    module: nn.Module, name: str = '', path: str = ''
) -> Iterator[Tuple[str, str, nn.Module]]:
    """List all modules of a network, a shared one under each of its names.

    Args:
        module (nn.Module): The network, wrapped or not.
        name (str): Its name. Defaults to ``''``.
        path (str): Its name with those of wrappers. Defaults to ``''``.

    Yields:
        tuple[str, str, nn.Module]: The name without wrappers, the one of ``named_modules``, and
        the module. A wrapper comes before what it wraps, under the same name.
    """
    yield name, path, module
    wrapped = wrapped_child(module)
    for key, child in module._modules.items():
        if child is not None:
            below = name if key == wrapped else f'{name}.{key}'.lstrip('.')
            yield from named_parts(child, below, f'{path}.{key}'.lstrip('.'))


def part_of(model: nn.Module, scope: str) -> nn.Module:
    """Return a part of a network by its name without wrappers, itself without its wrapper.

    Raises:
        ValueError: There is no such part.
    """
    # Of equal names the last is the innermost module.
    parts = {name: module for name, _, module in named_parts(model)}
    if scope not in parts:
        raise ValueError(f'The model has no part {scope!r}.')
    return parts[scope]


def layers_of_kind(part: nn.Module, kind: type) -> Dict[str, nn.Module]:
    """List the layers of one class by name without wrappers, a shared one under its first name."""
    first = {}
    for name, _, module in named_parts(part):
        if isinstance(module, kind):
            first.setdefault(module, name)
    return {name: module for module, name in first.items()}
