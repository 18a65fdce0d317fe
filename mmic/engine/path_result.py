"""The networks that a supernet of CR-NAS stands for: which to score, and the pattern of one."""

from typing import List, Optional, Tuple

from mmengine.registry import MODELS

from mmic.datasets.coco_split import draw
from mmic.engine.path_score import check_number
from mmic.models.block_dilations import block_pattern
from mmic.search.cr_nas import stage_candidates
from mmic.supernet.paths import check_path

# Arguments of a supernet's backbone that its networks do not have, or get anew.
OF_SUPERNET = ('search', 'share_prefix', 'share_weights', 'arch', 'stage_blocks', 'pattern')
UNNEEDED = ('base_channels', 'init_cfg', 'pretrained')


def depth_of(backbone, num_blocks):
    """Depth of the networks with so many blocks of a ResNet's kind, 101 for 33 bottlenecks.

    Raises:
        ValueError: There is none; the message lists the numbers there are.
    """
    kind = backbone.arch_settings[backbone.depth][0]
    depths = {
        sum(blocks): depth
        for depth, (block, blocks) in backbone.arch_settings.items()
        if block is kind
    }
    if num_blocks not in depths:
        told = ', '.join(f'{count} (depth {depths[count]})' for count in sorted(depths))
        raise ValueError(
            f'num_blocks: networks of {kind.__name__} have {told} blocks, got {num_blocks}.'
        )
    return depths[num_blocks]


def eligible_stages(backbone, num_blocks=None):
    """List the stage codes to score, all of which the supernet must have.

    Args:
        backbone (nn.Module): See ``supernet_backbone``.
        num_blocks (int, optional): Defaults to None: as many as the baseline.

    Returns:
        list[tuple[int, ...]]

    Raises:
        ValueError: An impossible number of blocks.
    """
    if backbone.family != 'mobilenetv2':
        num_blocks = sum(backbone.stage_blocks) if num_blocks is None else num_blocks
        depth_of(backbone, num_blocks)
    candidates = stage_candidates(backbone.family, num_blocks)
    for candidate in candidates:
        check_path(backbone, candidate)
    return candidates


def sample_stages(
    candidates: List[Tuple[int, ...]], count: Optional[int] = None, seed: int = 0
) -> List[Tuple[int, ...]]:
    """Draw some of the stage codes, in their order; of the same seed, fewer are among the more.

    Args:
        candidates (list[tuple[int, ...]]): See ``eligible_stages``.
        count (int, optional): How many. Defaults to None: all.
        seed (int): Defaults to 0.

    Raises:
        ValueError: ``count`` is not from 1 to the number of candidates.
    """
    check_number('sample', count, len(candidates), 'the stage codes of equal cost')
    return sorted(draw(candidates, count or len(candidates), seed))


def result_pattern(config, backbone, winner, base_channels=None, meta=None):
    """Make the pattern of the network that a search found, which is wider than the supernet.

    Args:
        config (dict): Of the supernet's backbone.
        backbone (nn.Module): The supernet's backbone.
        winner (tuple[int, ...]): A path through it.
        base_channels (int, optional): Of the network. Defaults to None: twice the supernet's, as
            in the paper (A.1); MobileNetV2's widths are the supernet's.
        meta (dict, optional): See ``DilationPattern``.

    Returns:
        DilationPattern: After the stage search all its dilations are 1.

    Raises:
        ValueError: ``base_channels`` below 1, or for a MobileNetV2, which has none.
    """
    if base_channels is not None and base_channels < 1:
        raise ValueError(f'base_channels must be 1 or more, got {base_channels}.')
    stages = backbone.search == 'stage'
    arguments = {
        name: value for name, value in config.items() if name not in (*OF_SUPERNET, *UNNEEDED)
    }
    arguments['stage_blocks'] = list(winner if stages else backbone.stage_blocks)
    if backbone.family == 'mobilenetv2':
        if base_channels is not None:
            raise ValueError('base_channels: a MobileNetV2 has none; widen_factor sets its widths.')
    else:
        arguments['depth'] = depth_of(backbone, sum(arguments['stage_blocks']))
        arguments['base_channels'] = base_channels or 2 * backbone.base_channels
    if backbone.family == 'resnext':
        arguments['groups'] = backbone.groups
        # mmdet counts it at base_channels: 4 at 64 is 2 at 32.
        widened = backbone.base_width * arguments['base_channels'] // backbone.base_channels
        arguments['base_width'] = widened
    network = MODELS.build(arguments)
    dilations = [1] * sum(network.stage_blocks) if stages else list(winner)
    return block_pattern(network, dilations, 'backbone', meta)
