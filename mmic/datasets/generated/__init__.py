"""Generated data in the format of every data set that configs name, to try any config with."""

from mmic.datasets.generated.builders import build_generated_cifar10, build_generated_cifar100
from mmic.datasets.generated.make import FORMATS, make_generated

__all__ = ['FORMATS', 'build_generated_cifar10', 'build_generated_cifar100', 'make_generated']
