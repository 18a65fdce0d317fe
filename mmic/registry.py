"""mmic's registries: children of mmengine's, found by the scope name ``mmic``.

Every public class is registered twice. In mmengine's root registry under its bare name,
which any OpenMMLab package finds once ``mmic`` is imported (``custom_imports``); and in
scope ``mmic``: ``type='mmic.ICResNet'`` needs no import. Both import the class when it is asked
for, from where ``mmic.names`` says; until then a stand-in has its bare name.
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


class LazyRegistry(Registry):
    """A registry of scope ``mmic`` that imports what defines a name when it is asked for it.

    Args:
        parent (Registry): mmengine's.
        key (str): Its name in ``mmic.names.REGISTERED``.
    """

    def __init__(self, parent: Registry, key: str):
        super().__init__(parent.name, parent=parent, scope='mmic')
        self.places = places(REGISTERED[key])
        for name in self.places:
            if name not in parent.module_dict:
                parent.register_module(name=name, module=_stand_in(self, name))

    def get(self, key: str) -> Optional[Any]:
        """Return what is registered under a name, as mmengine's registries do.

        Raises:
            ImportError: The name is mmic's, and what it is built on cannot be imported.
        """
        scope, name = self.split_scope_key(key)
        if scope in (None, self.scope):
            self.own(name)
        return super().get(key)

    def own(self, name: str) -> Optional[Any]:
        """Return what this registry itself has under a name; None for others' names."""
        if name in self.places and name not in self.module_dict:
            importlib.import_module(self.places[name])
        return self.module_dict.get(name)


class StandInType(type):
    """Class of the stand-ins: they behave as the classes and functions that they stand for."""

    def load(cls) -> Any:
        """Return what this stands for, which takes its place in the registry."""
        return cls.registry.own(cls.__name__)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.load()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        # Not for inspection, which asks for `__wrapped__` and the like.
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(cls.load(), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(cls.load(), type) and isinstance(instance, cls.load())


def _stand_in(registry: LazyRegistry, name: str) -> StandInType:
    return StandInType(name, (), {'registry': registry, '__module__': registry.places[name]})


MODELS = LazyRegistry(ROOT_MODELS, 'MODELS')
HOOKS = LazyRegistry(ROOT_HOOKS, 'HOOKS')
LOOPS = LazyRegistry(ROOT_LOOPS, 'LOOPS')
METRICS = LazyRegistry(ROOT_METRICS, 'METRICS')
DATASETS = LazyRegistry(ROOT_DATASETS, 'DATASETS')
TRANSFORMS = LazyRegistry(ROOT_TRANSFORMS, 'TRANSFORMS')
OPTIM_WRAPPER_CONSTRUCTORS = LazyRegistry(
    ROOT_OPTIM_WRAPPER_CONSTRUCTORS, 'OPTIM_WRAPPER_CONSTRUCTORS'
)


def register(registry: LazyRegistry, name: Optional[str] = None) -> Callable[[Any], Any]:
    """Decorate a class or function so that both ``name`` and ``mmic.name`` build it.

    Args:
        registry (LazyRegistry): One of this module's registries.
        name (str, optional): Defaults to the name of the decorated object.

    Raises:
        KeyError: The root registry holds the bare name of something else already, or
            ``mmic.names`` does not know the name.
    """

    def decorate(target: Any) -> Any:
        key = name or target.__name__
        if key not in registry.places:
            raise KeyError(f'{key} stands in no list of mmic.names.REGISTERED.')
        registry.register_module(name=key, module=target)
        root = registry.parent
        stands_in = type(root.module_dict.get(key)) is StandInType
        root.register_module(name=key, module=target, force=stands_in)
        return target

    return decorate


for _layer in (DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d):
    register(MODELS)(_layer)
