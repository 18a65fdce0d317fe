"""Glue to mmengine: configs, loops, hooks, optimizers; what is registered is imported on use."""

from mmic.names import REGISTERED, lazy_attributes

_PLACES = {
    module: names
    for registry in REGISTERED.values()
    for module, names in registry.items()
    if module.startswith(__name__)
}
# The metric's name is that of a class which needs mmdet; the function builds it.
_PLACES['mmic.engine.metrics'] = ('build_crowdhuman_recall',)
__getattr__, __dir__ = lazy_attributes(__name__, _PLACES)
