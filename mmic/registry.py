"""mmic's registries: children of mmengine's, found by the scope name ``mmic``.

Every public class is registered twice. In mmengine's root registry under its bare name,
which any OpenMMLab package finds once ``mmic`` is imported (``custom_imports``); and in
scope ``mmic``: ``type='mmic.ICResNet'`` needs no import. Until the class itself is imported, both
hold a stand-in, which imports it from where ``mmic.names`` says when it is built.
"""

import importlib
from typing import Any, Callable, Optional

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry

from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d
from mmic.names import REGISTERED, places


class StandInType(type):
    """Class of the stand-ins: they behave as the classes and functions that they stand for."""

    def load(cls) -> Any:
        """Import what this stands for, which takes its place in the registries, and return it."""
        importlib.import_module(cls.__module__)
        return cls.registry.module_dict[cls.__name__]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.load()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        # Not for inspection, which asks for `__wrapped__` and the like.
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(cls.load(), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(cls.load(), type) and isinstance(instance, cls.load())


def _child(parent: Registry, key: str) -> Registry:
    """Make the registry of scope ``mmic`` below one of mmengine's, and name in both what it has."""
    registry = Registry(parent.name, parent=parent, scope='mmic')
    for name, module in places(REGISTERED[key]).items():
        stand_in = StandInType(name, (), {'registry': registry, '__module__': module})
        registry.register_module(name=name, module=stand_in)
        if name not in parent.module_dict:
            parent.register_module(name=name, module=stand_in)
    return registry


def own(registry: Registry, name: str) -> Optional[Any]:
    """Return what a registry of mmic's itself has under a name, imported; None for others' names.

    Raises:
        ImportError: What it is built on cannot be imported.
    """
    target = registry.module_dict.get(name)
    return target.load() if type(target) is StandInType else target


MODELS = _child(ROOT_MODELS, 'MODELS')
HOOKS = _child(ROOT_HOOKS, 'HOOKS')
LOOPS = _child(ROOT_LOOPS, 'LOOPS')
METRICS = _child(ROOT_METRICS, 'METRICS')
DATASETS = _child(ROOT_DATASETS, 'DATASETS')
TRANSFORMS = _child(ROOT_TRANSFORMS, 'TRANSFORMS')
OPTIM_WRAPPER_CONSTRUCTORS = _child(ROOT_OPTIM_WRAPPER_CONSTRUCTORS, 'OPTIM_WRAPPER_CONSTRUCTORS')


def register(registry: Registry, name: Optional[str] = None) -> Callable[[Any], Any]:
    """Decorate a class or function so that both ``name`` and ``mmic.name`` build it.

    Args:
        registry (Registry): One of this module's registries.
        name (str, optional): Defaults to the name of the decorated object.

    Raises:
        KeyError: The root registry holds the bare name of something else already, or
            ``mmic.names`` does not know the name.
    """

    def decorate(target: Any) -> Any:
        key = name or target.__name__
        if key not in registry.module_dict:
            raise KeyError(f'{key} stands in no list of mmic.names.REGISTERED.')
        for holder in (registry, registry.parent):
            stands_in = type(holder.module_dict.get(key)) is StandInType
            holder.register_module(name=key, module=target, force=stands_in)
        return target

    return decorate


for _layer in (DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d):
    register(MODELS)(_layer)
