"""MMPreTrain's CIFAR data sets, for generated files, which have other checksums."""

from pathlib import Path

from mmpretrain.datasets import CIFAR10, CIFAR100

from mmic.datasets.generated.make import MARKER


def without_checksums(files):
    return [(name, None) for name, _ in files]


class GeneratedFiles:
    """What both data sets do differently: no checksums, and no other folder than a generated one.

    Args:
        *args, **kwargs: Of mmpretrain's ``CIFAR10``. Nothing is ever downloaded.

    Raises:
        RuntimeError: The folder was not made by ``make_generated``, or lacks a file.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, 'download': False})

    def _check_integrity(self):
        return Path(self.data_prefix['root'], MARKER).is_file() and super()._check_integrity()


class GeneratedCIFAR10(GeneratedFiles, CIFAR10):
    """CIFAR-10 as ``make_generated`` makes it."""

    train_list = without_checksums(CIFAR10.train_list)
    test_list = without_checksums(CIFAR10.test_list)


class GeneratedCIFAR100(GeneratedFiles, CIFAR100):
    """CIFAR-100 as ``make_generated`` makes it."""

    train_list = without_checksums(CIFAR100.train_list)
    test_list = without_checksums(CIFAR100.test_list)
