"""EDO on a ResNet-101 supernet: time and memory, and the search for hardware."""

import torch

from mmic.analysis.bench_layers import MULTIPLE
from mmic.analysis.bench_table import Measured
from mmic.analysis.benchmark import extra_memory, interleaved_medians
from mmic.search.edo import search_dilations

# (channels, layers) of ResNet-101's 3x3 convolutions.
RESNET101 = [(64, 3), (128, 4), (256, 23), (512, 3)]
MAX_DILATIONS = 8
FOR_HARDWARE = f'EDO, multiple {MULTIPLE}, {MAX_DILATIONS} dilations'


def bench_search(setting):
    """Time EDO against one ``weight.sum(1)``, and the constrained searches against EDO.

    The weights are random, float32, on the CPU, where EDO reads a checkpoint.

    Args:
        setting (Setting): Its ``repeats`` count; the constrained searches are timed once.

    Returns:
        list[Measured]
    """
    weights = [
        torch.empty(channels, channels, 9, 9).normal_()
        for channels, count in RESNET101
        for _ in range(count)
    ]

    def search(**options):
        return lambda: [search_dilations(weight, **options) for weight in weights]

    # First of all, since the peak memory of a process only grows.
    memory = {
        'weights': [float(sum(weight.numel() * 4 for weight in weights))],
        'EDO, in addition': [float(extra_memory(search()))],
    }
    functions = {'weight.sum(1)': lambda: [weight.sum(1) for weight in weights], 'EDO': search()}
    times = interleaved_medians(functions, setting.repeats, title='search: ResNet-101 supernet')
    limits = {'multiple': MULTIPLE, 'max_dilations': MAX_DILATIONS}
    functions = {
        'EDO': search(),
        f'EDO, multiple {MULTIPLE}': search(multiple=MULTIPLE),
        FOR_HARDWARE: search(**limits),
    }
    once = interleaved_medians(functions, 1, title='search: for hardware', warmup=0)
    return [
        Measured('search: ResNet-101 supernet', 'weight.sum(1)', 's', ['time'], in_column(times)),
        Measured('search: memory', 'weights', 'bytes', ['memory'], memory),
        Measured('search: for hardware', 'EDO', 's', ['time'], in_column(once)),
    ]


def in_column(medians):
    """Rows of one column."""
    return {name: [value] for name, value in medians.items()}
