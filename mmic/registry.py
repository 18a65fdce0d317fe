"""mmic's registries: children of mmengine's, found by the scope name ``mmic``.

Every public class is registered twice. In mmengine's root registry under its bare name,
which any OpenMMLab package finds once ``mmic`` is imported (``custom_imports``); and in
scope ``mmic``, whose ``locations`` let ``type='mmic.ICResNet'`` import what it needs.
"""

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry


def _child(parent, location):
    return Registry(parent.name, parent=parent, scope='mmic', locations=[location])


MODELS = _child(ROOT_MODELS, 'mmic.models')
HOOKS = _child(ROOT_HOOKS, 'mmic.engine')
LOOPS = _child(ROOT_LOOPS, 'mmic.engine')
METRICS = _child(ROOT_METRICS, 'mmic.engine')
DATASETS = _child(ROOT_DATASETS, 'mmic.datasets')
TRANSFORMS = _child(ROOT_TRANSFORMS, 'mmic.datasets')
OPTIM_WRAPPER_CONSTRUCTORS = _child(ROOT_OPTIM_WRAPPER_CONSTRUCTORS, 'mmic.engine')


def register(registry, name=None):
    """Decorate a class or function so that both ``name`` and ``mmic.name`` build it.

    Args:
        registry (Registry): One of this module's registries.
        name (str, optional): Defaults to the name of the decorated object.

    Raises:
        KeyError: The root registry holds the bare name already.
    """

    def decorate(target):
        key = name or target.__name__
        registry.register_module(name=key, module=target)
        registry.parent.register_module(name=key, module=target)
        return target

    return decorate
