"""Registered data sets. Each imports mmpretrain when it is built, which no other use needs."""

from mmic.registry import DATASETS, register


@register(DATASETS, 'GeneratedCIFAR10')
def build_generated_cifar10(**kwargs):
    """Build ``GeneratedCIFAR10``.

    Args:
        **kwargs: Of mmpretrain's ``CIFAR10``.
    """
    from mmic.datasets.generated.cifar_dataset import GeneratedCIFAR10

    return GeneratedCIFAR10(**kwargs)


@register(DATASETS, 'GeneratedCIFAR100')
def build_generated_cifar100(**kwargs):
    """Build ``GeneratedCIFAR100``.

    Args:
        **kwargs: Of mmpretrain's ``CIFAR100``.
    """
    from mmic.datasets.generated.cifar_dataset import GeneratedCIFAR100

    return GeneratedCIFAR100(**kwargs)
