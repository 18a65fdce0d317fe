"""Convolutions that choose their own receptive field, for MMDetection and MMPose.

``import mmic`` makes its models, loops and hooks known to mmengine's registries by name, so that a
config with ``custom_imports=dict(imports=['mmic'])`` can name them. What a name stands for is
imported when it is built, or first used as ``mmic.X``: ``from mmic.layers import ICConv2d`` needs
torch alone.
"""

import importlib.abc
import importlib.util
import sys

from mmic import names as _names
from mmic.version import __version__

_PUBLIC = {**_names.PUBLIC}
for _modules in _names.REGISTERED.values():
    for _module, _registered in _modules.items():
        _PUBLIC[_module] = (*_PUBLIC.get(_module, ()), *_registered)
_getattr, __dir__ = _names.lazy_attributes('mmic', _PUBLIC)

__all__ = ['__version__']


def __getattr__(name):
    if name in _names.SUBPACKAGES:
        return importlib.import_module(f'mmic.{name}')
    return _getattr(name)


class _AfterRegistry(importlib.abc.MetaPathFinder):
    """Registers the names as soon as something imports ``mmengine.registry``."""

    def find_spec(self, name, path=None, target=None):
        if name != 'mmengine.registry':
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                importlib.import_module('mmic.registry')

            spec.loader.exec_module = exec_module
        return spec


if 'mmengine.registry' in sys.modules:
    importlib.import_module('mmic.registry')
else:
    sys.meta_path.insert(0, _AfterRegistry())
