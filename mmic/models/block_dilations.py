"""One dilation per block, as CR-NAS chooses them: which convolutions have it, and its pattern."""

import re

from mmic.models.selection import is_3x3, searched_convs
from mmic.pattern import DilationPattern, LayerPattern, is_integer
from mmic.search.cr_archs import check_codes, free_units

# Of a block its only 3x3 convolution, of a basic block the second one (paper, section 3.2.2).
BLOCK_CONV = re.compile(r'layer\d+\.\d+\.(conv2|depthwise_conv\.conv)$')


def is_block_conv(name, conv):
    """Whether CR-NAS chooses the dilation of this convolution of a backbone."""
    return is_3x3(name, conv) and BLOCK_CONV.match(name) is not None


def block_convs(network):
    """The convolutions whose dilation CR-NAS chooses, one per block.

    Args:
        network (nn.Module): A CR backbone that is no supernet.

    Returns:
        dict[str, nn.Conv2d]: By name, in network order.

    Raises:
        ValueError: Some blocks have none, deformable ones for example.
    """
    convs = searched_convs(network, is_block_conv)
    wanted = len(free_units(network.family, network.stage_blocks))
    if len(convs) != wanted:
        raise ValueError(
            f'{type(network).__name__}: {wanted - len(convs)} of {wanted} blocks have no plain '
            '3x3 convolution to dilate. Does dcn replace it?'
        )
    return convs


def check_block_dilations(family, stage_blocks, dilations):
    """Raise ValueError unless there is one dilation, 1 to 3, per block, and 1 at fixed units."""
    listed = isinstance(dilations, (list, tuple)) and all(map(is_integer, dilations))
    if not listed or len(dilations) != sum(stage_blocks):
        raise ValueError(
            f'dilations must be {sum(stage_blocks)} whole numbers, one for each block of '
            f'{list(stage_blocks)}, got {dilations!r}.'
        )
    try:
        check_codes(family, stage_blocks, [dilation - 1 for dilation in dilations])
    except ValueError as error:
        raise ValueError(f'dilations={dilations!r}, less 1 each: {error}') from None


def block_pattern(network, dilations, scope='', meta=None):
    """Make the pattern of a network whose blocks have one dilation each.

    The channels written are the network's: build it with the widths that the pattern is for,
    which are not those of the supernet.

    Args:
        network (nn.Module): A CR backbone that is no supernet; its own dilations do not matter.
        dilations (Sequence[int]): One per block of its ``stage_blocks``, in network order.
        scope (str): Name of the backbone in its model. Defaults to ``''``.
        meta (dict, optional): See ``DilationPattern``.

    Returns:
        DilationPattern

    Raises:
        ValueError: As of ``block_convs`` and ``check_block_dilations``.
    """
    check_block_dilations(network.family, network.stage_blocks, dilations)
    chosen = [dilations[unit] for unit in free_units(network.family, network.stage_blocks)]
    layers = {
        name: LayerPattern(
            [(dilation, dilation)] * conv.out_channels,
            conv.kernel_size,
            conv.in_channels,
            conv.groups,
        )
        for (name, conv), dilation in zip(block_convs(network).items(), chosen)
    }
    return DilationPattern(layers, 'cr_nas', scope, network.stage_blocks, meta)
