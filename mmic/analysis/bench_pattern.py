"""The dilations that benchmarks give to IC-Conv: a file's, or like a published pattern's."""

import torch

from mmic.files import read_json
from mmic.pattern import DilationPattern, PatternError, is_published
from mmic.search.edo import search_dilations

# Outside their central 3x3 the generated kernels are so much smaller. EDO then gives (1, 1) to
# 40 to 45 % of the channels and uses 14 to 16 dilations; in the published pattern of the detector
# on ResNet-50 it is 26 to 66 % and 9 to 16.
OUTER = 0.2


def made_dilations(channels, multiple=1, groups=1):
    """Dilations that EDO finds in random 9x9 kernels that are largest in their middle.

    Args:
        channels (int): C_out.
        multiple (int): Channels of a block, see ``search_dilations``. Defaults to 1.
        groups (int): Groups of the convolution. Defaults to 1.

    Returns:
        Tensor: Shape (C_out, 2), sorted.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(channels, 1, 9, 9, generator=generator)
    scale = torch.full((9, 9), OUTER)
    scale[3:6, 3:6] = 1
    return search_dilations(weight * scale, multiple=multiple, groups=groups)[0]


def widths_of(pattern, widths, groups=1):
    """The dilations of IC layers of each width.

    Args:
        pattern (str | Path | None): Pattern file, of mmic or published; None: ``made_dilations``.
        widths (Sequence[int]): Numbers of output channels.
        groups (int): Groups of the layers. Defaults to 1.

    Returns:
        dict[int, list[Tensor]]: Those of all 3x3 layers of the file that are so wide.

    Raises:
        PatternError: The file is broken, or has no layer of some width.
    """
    if pattern is None:
        return {width: [made_dilations(width, groups=groups)] for width in widths}
    layers = load_any(pattern).layers.values()
    alike = [each for each in layers if each.kernel_size == (3, 3) and each.groups == groups]
    found = {}
    for width in widths:
        found[width] = [each.dilations for each in alike if each.out_channels == width]
        if not found[width]:
            known = sorted({layer.out_channels for layer in layers})
            raise PatternError(
                f'{pattern}: no 3x3 layer of {width} channels and {groups} groups; its layers have '
                f'{known} channels. Give the pattern of a network with such a layer.'
            )
    return found


def load_any(pattern):
    """Read a pattern file of either form; a published one's layers are numbered."""
    if is_published(pattern):
        numbers = range(len(read_json(pattern)))
        return DilationPattern.from_published(pattern, map(str, numbers))
    return DilationPattern.load(pattern)
