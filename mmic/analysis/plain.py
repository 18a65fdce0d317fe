"""The plain network of a config: the same one without mmic's convolutions."""

import inspect

from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmic.registry import MODELS, own


def plain_config(cfg):
    """Replace what mmic brought into a model's config by what it stands for.

    A backbone becomes the class of the host package that it is built on, without the arguments
    that mmic added to that class's own; ``build_supernet``, ``build_searched`` and
    ``build_swapped`` become the model that they change; a convolution, in ``conv_cfg`` or ``dcn``,
    is left out. Numbers that the config leaves to mmic, as the name of an architecture tells the
    depth and a supernet its width, are read off the backbone, which is built for that.

    Args:
        cfg (dict): Config of a model.

    Returns:
        dict: Equal to ``cfg`` where there is nothing of mmic's in it; ``cfg`` is left as it is.
    """
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(plain_config(item) for item in cfg)
    if not isinstance(cfg, dict):
        return cfg
    target = of_mmic(cfg.get('type'))
    if target is None:
        return plain_items(cfg)
    if inspect.isclass(target):
        return plain_class(cfg, target)
    own = parameters_of(target)
    changes = {key: value for key, value in cfg.items() if key != 'type' and key not in own}
    return plain_config(type(cfg)({**cfg['model'], **changes}))


def of_mmic(kind):
    """The class or function of mmic that a config's ``type`` names; None for any other."""
    if not isinstance(kind, str):
        return kind if kind in MODELS.module_dict.values() else None
    scope, _, name = kind.rpartition('.')
    return own(MODELS, name) if scope in ('', MODELS.scope) else None


def is_conv(cfg):
    """Whether a config builds one of mmic's convolutions."""
    target = of_mmic(cfg.get('type')) if isinstance(cfg, dict) else None
    if inspect.isclass(target):
        return issubclass(target, nn.Conv2d)
    # Of mmic's functions, those that take no model build a convolution.
    return target is not None and 'model' not in parameters_of(target)


def plain_items(cfg, dropped=()):
    """A dict's items made plain, without convolutions and without the ``dropped`` keys."""
    items = {k: v for k, v in cfg.items() if k not in dropped and not is_conv(v)}
    return type(cfg)({key: plain_config(value) for key, value in items.items()})


def plain_class(cfg, target):
    """``plain_config`` where ``type`` is a class of mmic's."""
    # The classes of one module put a method into a host's class; mmic's other models are themselves
    # plain, networks that the hosts lack.
    if not any(base.__module__ == 'mmic.models.backbones' for base in target.__mro__):
        return plain_items(cfg)
    host = next(base for base in target.__mro__ if not base.__module__.startswith('mmic.'))
    package = host.__module__.partition('.')[0]
    bases = target.__mro__[: target.__mro__.index(host)]
    added = set().union(*(parameters_of(b.__init__) for b in bases if '__init__' in vars(b)))
    defaults = {}
    for base in host.__mro__:
        if base.__module__.startswith(f'{package}.') and '__init__' in vars(base):
            for name, parameter in parameters_of(base.__init__).items():
                defaults.setdefault(name, parameter.default)
    required = {name for name, value in defaults.items() if value is inspect.Parameter.empty}
    plain = plain_items(cfg, added - required)
    plain['type'] = f'{package}.{host.__name__}'
    built = ROOT_MODELS.build(cfg)
    for name, default in defaults.items():
        value = getattr(built, name, default)
        asked = name in required or isinstance(default, (int, float))
        if asked and plain.get(name) is None and value != default:
            plain[name] = value
    return plain


def parameters_of(function):
    """The named parameters of a function, without ``*args`` and ``**kwargs``."""
    parameters = inspect.signature(function).parameters.values()
    return {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name != 'self'
    }
