"""Random patterns in place of those that a search has not written yet."""

import copy
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from mmic.engine.config_walk import config_nodes
from mmic.pattern import DilationPattern, LayerPattern
from mmic.search.checkpoint import supernet_convs
from mmic.supernet import MixedConv2d, WideConv2d

# The supernet of a searched part, whose layers the pattern has: type, arguments, layers, method.
# A d_max of 1 keeps its kernels small.
EDO = dict(d_max=1), WideConv2d, 'edo'
NATS = dict(genotypes=[1, 2], num_groups=1), MixedConv2d, 'nats'
SUPERNETS = {'build_searched': EDO, 'IC': EDO, 'NATS': NATS}


def stand_in_patterns(cfg, folder, d_max=4):
    """Write a random pattern for each searched part of a model that has none yet.

    Args:
        cfg (Config): Its default scope must be set. Changed in place: where it names a pattern
            file that does not exist, it names the written one.
        folder (str | Path): Where the files go, ``0.json`` and so on; existing ones are replaced.
        d_max (int): Largest dilation drawn. Defaults to 4.

    Raises:
        ValueError: No supernet of that type is known.
    """
    number = 0
    # Inner parts first, since outer ones are built around them.
    for node in reversed(list(config_nodes(cfg.model))):
        path = node.get('pattern')
        if isinstance(path, str) and not Path(path).is_file():
            node['pattern'] = str(Path(folder) / f'{number}.json')
            random_pattern(node, d_max).save(node['pattern'], overwrite=True)
            number += 1


def random_pattern(part, d_max=4, seed=0):
    """Draw a pattern for a part of a model.

    Args:
        part (dict): Config of the part, with a ``pattern``, which is not read.
        d_max (int): Largest dilation drawn. Defaults to 4.
        seed (int): Defaults to 0.

    Returns:
        DilationPattern

    Raises:
        ValueError: No supernet of its type is known.
    """
    name = part['type'].rpartition('.')[2]
    prefix = next((prefix for prefix in SUPERNETS if name.startswith(prefix)), None)
    if prefix is None:
        raise ValueError(
            f'{part["pattern"]} does not exist, and for type={part["type"]!r} no pattern can be '
            f'made up; it can for types that start with {", ".join(SUPERNETS)}.'
        )
    arguments, kind, method = SUPERNETS[prefix]
    kept = [key for key in part if key not in ('pattern', 'part')]
    supernet = {key: copy.deepcopy(part[key]) for key in kept}
    # A search counts dilations from 1; a searched backbone's own multiply what it finds.
    if 'dilations' in supernet:
        supernet['dilations'] = [1] * len(supernet['dilations'])
    supernet.update(arguments, type=part['type'].replace('build_searched', 'build_supernet'))
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for layer, conv in supernet_convs(MODELS.build(ConfigDict(supernet)), kind).items():
        dilations = torch.randint(1, d_max + 1, (conv.out_channels, 2), generator=generator)
        layers[layer] = LayerPattern(dilations, (3, 3), conv.in_channels, conv.groups)
    return DilationPattern(layers, method, meta={'stand_in': True})
