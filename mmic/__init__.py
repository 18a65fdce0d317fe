"""Convolutions that choose their own receptive field, for MMDetection and MMPose.

Importing the package registers its models, loops and hooks, so that a config with
``custom_imports=dict(imports=['mmic'])`` can name them.
"""

from mmic import engine, models
from mmic.version import __version__

__all__ = ['__version__', 'engine', 'models']
