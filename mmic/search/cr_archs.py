"""Architectures of CR-NAS: the published ones, and what makes a code a valid one.

Liang et al., "Computation Reallocation for Object Detection", ICLR 2020, Tables 5 and 6.
A stage code lists the blocks of each stage, an operation code one number per block: 0, 1, 2
for dilation 1, 2, 3. MobileNetV2's stage code has ten units: stem, the groups of 16, 24, 32,
64, 96, 160 and 320 channels, last convolution, pooling.
"""

from difflib import get_close_matches
from typing import NamedTuple, Optional, Tuple

from mmic.pattern import is_integer

FAMILIES = ('resnet', 'resnext', 'mobilenetv2')
# Appendix A.2: cost of a block in each of MobileNetV2's units, 0 for those that are fixed.
# Multiples of 1/4 are exact in floating point, and so is their sum.
MOBILENETV2_WEIGHTS = (0, 0, 1.5, 1, 1, 0.75, 1.25, 0, 0, 0)
MOBILENETV2_BUDGET = 16.0


class Architecture(NamedTuple):
    """A network of the CR-NAS space.

    Attributes:
        name (str): As in the paper, ``'CR-ResNet50'`` for example.
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.
        depth (int, optional): Of the baseline; None for MobileNetV2.
        stage_blocks (tuple[int, ...]): Blocks per stage, or per unit of MobileNetV2.
        codes (tuple[int, ...]): Operation code, one entry per block.
    """

    name: str
    family: str
    depth: Optional[int]
    stage_blocks: Tuple[int, ...]
    codes: Tuple[int, ...]

    @property
    def dilations(self):
        """tuple[int, ...]: Dilation of each block's 3x3 convolution."""
        return tuple(code + 1 for code in self.codes)


# Table 5: family, depth, baseline, stage reallocation (SCR). The 15 of ResNeXt101 is not in the
# search space of the same paper; it stands as printed.
_STAGES = {
    'MobileNetV2': (
        'mobilenetv2',
        None,
        (1, 1, 2, 3, 4, 3, 3, 1, 1, 1),
        (1, 1, 2, 2, 3, 4, 4, 1, 1, 1),
    ),
    'ResNet18': ('resnet', 18, (2, 2, 2, 2), (1, 1, 2, 4)),
    'ResNet50': ('resnet', 50, (3, 4, 6, 3), (1, 3, 5, 7)),
    'ResNet101': ('resnet', 101, (3, 4, 23, 3), (2, 3, 17, 11)),
    'ResNeXt50-32x4d': ('resnext', 50, (3, 4, 6, 3), (2, 2, 6, 6)),
    'ResNeXt101-32x4d': ('resnext', 101, (3, 4, 23, 3), (3, 4, 15, 11)),
}
# Table 6: operation codes of the final networks (CR), a group of digits per stage or unit.
_CODES = {
    'MobileNetV2': '0 1 01 02 011 0011 0110 2 0 0',
    'ResNet18': '0 0 10 1021',
    'ResNet50': '0 010 00120 0102112',
    'ResNet101': '00 000 01010002000101010 11001012011',
}


def _tabulate():
    """List all networks: baselines, stage reallocation (SCR), stages and operations (CR)."""
    table = []
    for name, (family, depth, baseline, searched) in _STAGES.items():
        plain = (0,) * sum(searched)
        table.append(Architecture(name, family, depth, baseline, (0,) * sum(baseline)))
        table.append(Architecture(f'SCR-{name}', family, depth, searched, plain))
        if name in _CODES:
            codes = tuple(int(digit) for digit in _CODES[name].replace(' ', ''))
            table.append(Architecture(f'CR-{name}', family, depth, searched, codes))
    return {architecture.name: architecture for architecture in table}


PUBLISHED = _tabulate()


def published(name):
    """Return an architecture of the paper by its name.

    Args:
        name (str): Prefix ``CR-`` for stages and operations (Table 6), ``SCR-`` for stages alone
            (Table 5, all dilations 1), none for the baseline; ``'CR-ResNet50'`` for example. The
            paper has no operation codes for ResNeXt.

    Returns:
        Architecture

    Raises:
        ValueError: The paper has no such architecture; the message lists those of similar names,
            and then all.
    """
    if name not in PUBLISHED:
        lower = {known.lower(): known for known in PUBLISHED}
        near = [lower[found] for found in get_close_matches(str(name).lower(), lower)]
        told = f' Did you mean {" or ".join(near)}?' if near else ''
        raise ValueError(
            f'CR-NAS has no architecture {name!r}.{told} It has {", ".join(PUBLISHED)}.'
        )
    return PUBLISHED[name]


def check_family(family):
    """Raise ValueError unless CR-NAS covers the backbone family."""
    if family not in FAMILIES:
        raise ValueError(f'family must be one of {FAMILIES}, got {family!r}.')


def mobilenetv2_cost(stage_blocks):
    """Weighted blocks of a MobileNetV2 stage code, which the search holds at 16.0."""
    return sum(weight * blocks for weight, blocks in zip(MOBILENETV2_WEIGHTS, stage_blocks))


def check_stage_blocks(family, stage_blocks, num_blocks=None):
    """Check a stage code; the sets that the search draws from are not asked for.

    Args:
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.
        stage_blocks (Sequence[int]): Blocks per stage: four, or MobileNetV2's ten units
            ``[1, 1, m1, ..., m5, 1, 1, 1]``, whose weighted sum must be 16.0.
        num_blocks (int, optional): What the blocks must sum to. Defaults to None: anything.

    Raises:
        ValueError: The message says what was received and what would be right.
    """
    check_family(family)
    mobile = family == 'mobilenetv2'
    form = '[1, 1, m1, m2, m3, m4, m5, 1, 1, 1]' if mobile else 'four numbers'
    listed = isinstance(stage_blocks, (list, tuple))
    if not listed or len(stage_blocks) != (10 if mobile else 4):
        raise ValueError(f'A stage code of {family} is {form}, got {stage_blocks!r}.')
    if not all(is_integer(blocks) and blocks >= 1 for blocks in stage_blocks):
        raise ValueError(
            f'Each stage needs a whole number of blocks, at least one, got {stage_blocks!r}.'
        )
    told = f'stage code {list(stage_blocks)}'
    if mobile:
        fixed = zip(MOBILENETV2_WEIGHTS, stage_blocks)
        if any(weight == 0 and blocks != 1 for weight, blocks in fixed):
            raise ValueError(f'{told}: the first two and the last three units are fixed: {form}.')
        cost = mobilenetv2_cost(stage_blocks)
        if cost != MOBILENETV2_BUDGET:
            raise ValueError(
                f'{told}: its blocks, weighted by {list(MOBILENETV2_WEIGHTS[2:7])} for m1 to m5, '
                f'cost {cost}; the budget is {MOBILENETV2_BUDGET}.'
            )
    if num_blocks is not None and sum(stage_blocks) != num_blocks:
        raise ValueError(f'{told} has {sum(stage_blocks)} blocks; it must have {num_blocks}.')


def free_units(family, stage_blocks):
    """Positions in an operation code that have a 3x3 convolution to dilate.

    Args:
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.
        stage_blocks (Sequence[int]): A checked stage code.

    Returns:
        range: All of them; for MobileNetV2 not the stem, the last convolution and the pooling.
    """
    num_units = sum(stage_blocks)
    return range(1, num_units - 2) if family == 'mobilenetv2' else range(num_units)


def check_codes(family, stage_blocks, codes):
    """Check an operation code.

    Args:
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.
        stage_blocks (Sequence[int]): A checked stage code.
        codes (Sequence[int]): 0, 1 or 2 for dilation 1, 2 or 3, one entry per block; 0 at
            MobileNetV2's stem (the first entry), last convolution and pooling (the last two).

    Raises:
        ValueError: The message names the entry, its value and what would be right.
    """
    check_family(family)
    if not isinstance(codes, (list, tuple)) or len(codes) != sum(stage_blocks):
        raise ValueError(
            f'An operation code for the stage code {list(stage_blocks)} has '
            f'{sum(stage_blocks)} entries, got {codes!r}.'
        )
    free = free_units(family, stage_blocks)
    for position, code in enumerate(codes):
        told = f'operation code, entry {position} (from 0) is {code!r}'
        if not is_integer(code) or code not in (0, 1, 2):
            raise ValueError(f'{told}; it must be 0, 1 or 2, for dilation 1, 2 or 3.')
        if code and position not in free:
            raise ValueError(f"{told}; MobileNetV2's stem and last two units must have 0.")


def split_codes(stage_blocks, codes):
    """Split an operation code, or a sequence of dilations, into stages.

    Args:
        stage_blocks (Sequence[int]): Blocks per stage.
        codes (Sequence[int]): One entry per block.

    Returns:
        list[tuple[int, ...]]: One tuple per stage.

    Raises:
        ValueError: There is not one entry per block.
    """
    if len(codes) != sum(stage_blocks):
        raise ValueError(
            f'The stage code {list(stage_blocks)} has {sum(stage_blocks)} blocks, '
            f'the code to split {len(codes)} entries.'
        )
    entries = iter(codes)
    return [tuple(next(entries) for _ in range(blocks)) for blocks in stage_blocks]
