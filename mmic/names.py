"""Where the public and the registered names are defined; importing it imports none of them."""

import importlib
from typing import Any, Callable, Dict, Iterable, List, Mapping, Tuple

# Registered names by mmengine's registry and by the module whose import registers them.
REGISTERED = {
    'MODELS': {
        # Light, so mmic.registry registers them itself.
        'mmic.layers': ('DOConv2d', 'ICConv2d', 'MaskedPSConv2d', 'PSConv2d'),
        'mmic.models.convs': ('build_swapped',),
        'mmic.models.builders': ('build_searched', 'build_supernet'),
        'mmic.models.backbones': (
            'CRMobileNetV2',
            'CRResNeXt',
            'CRResNet',
            'ICMobileNetV2',
            'ICResNeXt',
            'ICResNet',
            'NATSResNeXt',
            'NATSResNet',
            'PSResNeXt',
            'PSResNet',
        ),
        'mmic.models.classification': (
            'CIFARPlainNet',
            'CIFARPreActResNet',
            'CIFARResNeXt',
            'CIFARResNet',
            'MobileNetV1',
            'PlainNet',
            'PreActResNet',
        ),
        'mmic.models.rfcn': ('RFCN', 'RFCNHead', 'RFCNRPNHead', 'RFCNRoIExtractor'),
        'mmic.pose': (
            'AEPoseEstimator',
            'MaskedKeypointMSELoss',
            'MeanAssociativeEmbeddingLoss',
            'PyramidDataPreprocessor',
            'TrainableAssociativeEmbeddingHead',
        ),
    },
    'HOOKS': {
        'mmic.engine.hooks': ('NATSHook',),
        'mmic.engine.path_sampling': ('PathSamplingHook',),
        'mmic.engine.search_cost': ('SearchCostHook',),
    },
    'LOOPS': {'mmic.engine.loops': ('BilevelTrainLoop',)},
    'METRICS': {'mmic.engine.metrics': ('CrowdHumanRecallMetric',)},
    'DATASETS': {'mmic.datasets.generated.builders': ('GeneratedCIFAR10', 'GeneratedCIFAR100')},
    'TRANSFORMS': {'mmic.pose': ('CrowdHeatmapMask', 'PackPyramidInputs', 'PyramidResize')},
    'OPTIM_WRAPPER_CONSTRUCTORS': {'mmic.engine.optim': ('BilevelOptimWrapperConstructor',)},
}

# What `mmic.X` is, beside the registered names and the subpackages.
PUBLIC = {
    'mmic.deploy': ('fuse',),
    'mmic.models.convs': ('to_swapped',),
    'mmic.models.inception': ('to_searched', 'to_supernet'),
    'mmic.models.nats': ('to_mixed',),
    'mmic.pattern': ('DilationPattern', 'LayerPattern', 'PatternError'),
    'mmic.pose': ('TrainableAssociativeEmbedding',),
    'mmic.search.edo': ('search_dilations', 'search_network'),
    'mmic.supernet': ('ChoiceConv2d', 'MixedConv2d', 'WideConv2d'),
    'mmic.swap': ('swap_convs',),
}
SUBPACKAGES = (
    'analysis',
    'checkpoint',
    'convert',
    'datasets',
    'deploy',
    'engine',
    'layers',
    'models',
    'pattern',
    'pose',
    'registry',
    'search',
    'supernet',
    'swap',
)


def places(modules: Mapping[str, Iterable[str]]) -> Dict[str, str]:
    """Turn names by module around: the module of each name."""
    return {name: module for module, names in modules.items() for name in names}


def lazy_attributes(
    package: str, modules: Mapping[str, Iterable[str]]
) -> Tuple[Callable[[str], Any], Callable[[], List[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``, which import names on first use (PEP 562).

    Args:
        package (str): Full name of the package.
        modules (Mapping[str, Iterable[str]]): Names by the module that defines them.

    Returns:
        tuple[Callable, Callable]: ``__getattr__`` and ``__dir__``.
    """
    where = places(modules)

    def __getattr__(name: str) -> Any:
        if name not in where:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(importlib.import_module(where[name]), name)

    def __dir__() -> List[str]:
        return sorted({*vars(importlib.import_module(package)), *where})

    return __getattr__, __dir__
