"""The dilations that NATS chooses from.

Peng et al., "Efficient Neural Architecture Transformation Search in Channel-Level for Object
Detection", NeurIPS 2019, section 4.3. A genotype is a dilation, (d_h, d_w); d means (d, d).
"""

from mmic.supernet.candidates import as_pairs

# By stage; the paper calls them stages 3 to 5. C is its default.
GENOTYPES = {
    'A': {'layer2': [1, 3], 'layer3': [1, 3], 'layer4': [1, 3, 5]},
    'B': {'layer2': [1, 2, 3], 'layer3': [1, 2, 3], 'layer4': [1, 2, 3, 4, 5]},
    'C': {
        'layer2': [1, 2, 3, (1, 3), (3, 1)],
        'layer3': [1, 2, 3, (1, 3), (3, 1)],
        'layer4': [1, 2, 3, 4, 5, (1, 3), (3, 1), (1, 5), (5, 1)],
    },
}


def genotypes_of(genotypes, layer):
    """The genotypes of one layer.

    Args:
        genotypes (str | list | dict): ``'A'``, ``'B'`` or ``'C'``; or a list for all layers;
            or lists by stage, ``{'layer2': [1, 2], ...}``.
        layer (str): Name of the convolution, ``'layer2.0.conv2'`` for example.

    Returns:
        list[tuple[int, int]]: ``(d_h, d_w)``.

    Raises:
        ValueError: An unknown set, or none for this layer's stage.
    """
    if isinstance(genotypes, str):
        if genotypes not in GENOTYPES:
            raise ValueError(f'genotypes must be one of {sorted(GENOTYPES)}, got {genotypes!r}.')
        genotypes = GENOTYPES[genotypes]
    if isinstance(genotypes, dict):
        stages = [stage for stage in genotypes if stage in layer.split('.')]
        if not stages:
            raise ValueError(
                f'Layer {layer!r} belongs to none of the stages {sorted(genotypes)} that there '
                'are genotypes for; give a list of genotypes, or lists by stage.'
            )
        genotypes = genotypes[stages[0]]
    return as_pairs(genotypes)
