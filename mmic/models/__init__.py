"""Registered models, imported on first use; those on top of a host say when it is missing."""

from mmic.names import REGISTERED, lazy_attributes

_PLACES = {
    module: names for module, names in REGISTERED['MODELS'].items() if module.startswith(__name__)
}
__getattr__, __dir__ = lazy_attributes(__name__, _PLACES)
