"""CR-NAS in mmdet's backbones: the networks it found, and the supernets of its two searches.

Liang et al., "Computation Reallocation for Object Detection", ICLR 2020.
"""

from mmic.models.block_dilations import (
    block_convs,
    block_pattern,
    check_block_dilations,
    is_block_conv,
)
from mmic.models.inception import to_searched
from mmic.pattern import DilationPattern, PatternError
from mmic.search.cr_archs import FAMILIES, check_stage_blocks, published
from mmic.search.cr_nas import STAGE_SPACES
from mmic.supernet import ChoiceConv2d, StageBranches
from mmic.swap import swap_convs

# Half the standard ones: [32, 64, 128, 256] for the four stages (A.1).
SUPERNET_CHANNELS = 32
# Of a 32x4d ResNeXt, half of 4.
SUPERNET_BASE_WIDTH = 2


class CRBackbone:
    """Makes a backbone a network of CR-NAS, or one of its supernets, in its constructor.

    Exactly one of ``arch``, ``stage_blocks`` and ``pattern`` is given; none with
    ``search='stage'``. Arguments are given by name. Networks have the blocks' standard widths;
    without dilations, as after the stage search alone (SCR), their convolutions are plain.

    Args:
        arch (str, optional): A published network, ``'CR-ResNet50'`` for example, from which
            ``depth`` and ``groups`` follow.
        stage_blocks (Sequence[int], optional): Blocks per stage, or MobileNetV2's units
            ``[1, 1, m1, ..., m5, 1, 1, 1]``.
        dilations (Sequence[int], optional): With ``stage_blocks``: 1, 2 or 3 for each block, in
            network order, 1 at MobileNetV2's stem and tail. Defaults to None: all 1. It stands
            in for mmdet's argument of this name, the dilation of each stage.
        pattern (str | Path | DilationPattern, optional): A search's result: blocks and dilations.
        search (str, optional): ``'stage'``: the supernet whose stages choose their numbers of
            blocks. ``'operation'``: the one whose blocks, those of the given network, choose
            their dilations. Both have ``base_channels=32`` unless told otherwise (A.1), except
            MobileNetV2, which has its standard widths. mmdet's ``base_width`` of ResNeXt is
            counted per ``base_channels``: left at 4, the grouped convolutions stay as wide.
        share_prefix (bool): With ``search='stage'``, see ``StageBranches``. Defaults to False.
        share_weights (bool): With ``search='operation'``, see ``CandidateConv2d``. Defaults to
            False.
        **kwargs: Of the mmdet class. ``depth`` chooses the block and the baseline, whose number
            of blocks a network must have.

    Attributes:
        stage_blocks (tuple[int, ...]): Of the network; of a stage supernet the baseline's.
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.

    Raises:
        ValueError: Contradicting arguments, or an impossible architecture.
        PatternError: The pattern is broken or is another network's.
    """

    # Units of a path before and after those with a choice.
    fixed_units = (0, 0)

    def __init__(
        self,
        *,
        arch=None,
        stage_blocks=None,
        dilations=None,
        pattern=None,
        search=None,
        share_prefix=False,
        share_weights=False,
        **kwargs,
    ):
        sources = {'arch': arch, 'stage_blocks': stage_blocks, 'pattern': pattern}
        told = check_sources(type(self).__name__, sources, search)
        if dilations is not None and (stage_blocks is None or search):
            raise ValueError(
                'dilations, one per block, go with stage_blocks and without search; got '
                f'dilations={dilations!r} with {told} and search={search!r}.'
            )
        if (share_prefix and search != 'stage') or (share_weights and search != 'operation'):
            raise ValueError(
                "share_prefix goes with search='stage', share_weights with search='operation'; "
                f'got search={search!r}.'
            )
        self.family, self.search, self.share_prefix = family_of(self), search, share_prefix

        if arch is not None:
            found = self._published(arch, kwargs)
            stage_blocks = found.stage_blocks
            dilations = found.dilations if any(found.codes) else None
        dilated = dilations is not None
        if pattern is not None:
            if not isinstance(pattern, DilationPattern):
                pattern = DilationPattern.load(pattern)
            stage_blocks = pattern.stage_blocks
            dilated = any((layer.dilations != 1).any() for layer in pattern.layers.values())
            if stage_blocks is None:
                raise PatternError(f'{pattern.source}: no stage_blocks are in it.')
        if search == 'operation' and dilated:
            raise ValueError(f"search='operation' chooses the dilations; {told} has them already.")

        try:
            self._set_blocks(stage_blocks, kwargs)
        except ValueError as error:
            if pattern is None:
                raise
            raise PatternError(f'{pattern.source}: {error}') from None
        if dilations is not None:
            check_block_dilations(self.family, stage_blocks, dilations)
        super().__init__(**kwargs)

        if search == 'operation':
            convs = block_convs(self)
            swap_convs(
                self,
                lambda name, conv: ChoiceConv2d.from_conv(conv, share_weights=share_weights),
                lambda name, conv: name in convs,
            )
        elif pattern is not None:
            to_searched(self, pattern, is_block_conv)
        elif dilations is not None:
            to_searched(self, block_pattern(self, dilations), is_block_conv)

    def _published(self, arch, kwargs):
        """Look up a published network; its depth and groups go into ``kwargs``."""
        found = published(arch)
        if found.family != self.family:
            raise ValueError(
                f'{type(self).__name__} is a {self.family}; arch={arch!r} is a {found.family}.'
            )
        implied = {} if found.depth is None else {'depth': found.depth}
        if found.family == 'resnext':
            implied['groups'] = 32
        for name, value in implied.items():
            if kwargs.setdefault(name, value) != value:
                raise ValueError(f'arch={arch!r} has {name}={value}, got {name}={kwargs[name]!r}.')
        return found

    def _branches(self, unit, num_blocks, build):
        """Build a stage, or all its branches where the search has something to choose."""
        lengths = STAGE_SPACES[self.family][unit]
        if self.search != 'stage' or len(lengths) == 1:
            return build(num_blocks)
        return StageBranches(lengths, build, num_blocks, self.share_prefix)


class CRMixin(CRBackbone):
    """``CRBackbone`` for mmdet's ResNet and ResNeXt."""

    def _set_blocks(self, stage_blocks, kwargs):
        depth, num_stages = kwargs.get('depth'), kwargs.get('num_stages', 4)
        if depth not in self.arch_settings:
            raise ValueError(f'depth must be one of {list(self.arch_settings)}, got {depth!r}.')
        if num_stages != 4:
            raise ValueError(f'CR-NAS moves blocks between 4 stages, got num_stages={num_stages}.')
        block, baseline = self.arch_settings[depth]
        if stage_blocks is not None:
            check_stage_blocks(self.family, stage_blocks, sum(baseline))
            self.arch_settings = {**self.arch_settings, depth: (block, tuple(stage_blocks))}
        space = STAGE_SPACES[self.family]
        if self.search == 'stage' and any(n not in lengths for n, lengths in zip(baseline, space)):
            raise ValueError(
                f'depth={depth} cannot be searched: its blocks {list(baseline)} are outside the '
                f'search space {[list(lengths) for lengths in space]}.'
            )
        if self.search and 'base_channels' not in kwargs:
            kwargs['base_channels'] = SUPERNET_CHANNELS
            if self.family == 'resnext':
                kwargs.setdefault('base_width', SUPERNET_BASE_WIDTH)

    def make_res_layer(self, num_blocks, **kwargs):
        """Build a stage, or all its branches; arguments as mmdet gives them."""
        make = super().make_res_layer
        unit = len(self.res_layers)  # mmdet lists the stages that it has built
        return self._branches(unit, num_blocks, lambda length: make(num_blocks=length, **kwargs))


class CRMobileNetMixin(CRBackbone):
    """``CRBackbone`` for mmdet's MobileNetV2, whose stem and tail are fixed."""

    @property
    def fixed_units(self):
        """tuple[int, int]: Stem and first group, or stem, come before; the tail comes after."""
        return (2, 3) if self.search == 'stage' else (1, 2)

    def _set_blocks(self, stage_blocks, kwargs):
        if stage_blocks is None:
            stage_blocks = (1, *(blocks for _, _, blocks, _ in self.arch_settings), 1, 1)
        check_stage_blocks(self.family, stage_blocks)
        self.stage_blocks = tuple(stage_blocks)
        # The first unit is the stem, the last two are the last convolution and the pooling.
        self.arch_settings = [
            [expand_ratio, channels, blocks, stride]
            for (expand_ratio, channels, _, stride), blocks in zip(
                self.arch_settings, stage_blocks[1:-2]
            )
        ]

    def make_layer(self, out_channels, num_blocks, stride, expand_ratio):
        """Build a group of blocks, or all its branches; arguments as mmdet gives them."""
        make, in_channels = super().make_layer, self.in_channels

        def build(length):
            self.in_channels = in_channels  # building the branch before has changed it
            return make(out_channels, length, stride, expand_ratio)

        return self._branches(len(self.layers) + 1, num_blocks, build)


def check_sources(name, sources, search):
    """Check that an architecture is given once, or not at all for the stage search.

    Args:
        name (str): Of the backbone, for messages.
        sources (dict): The arguments that give an architecture, None where not given.
        search (str, optional): See ``CRBackbone``.

    Returns:
        str: The arguments given, for messages.

    Raises:
        ValueError: None or several, or an unknown ``search``.
    """
    given = [f'{key}={value!r}' for key, value in sources.items() if value is not None]
    told = ', '.join(given) or 'none of them'
    if search not in (None, 'stage', 'operation'):
        raise ValueError(f"search must be 'stage' or 'operation', got {search!r}.")
    if search == 'stage' and given:
        raise ValueError(f"search='stage' finds the architecture itself, got {told}.")
    if search != 'stage' and len(given) != 1:
        raise ValueError(
            f'{name} takes exactly one of {", ".join(sources)} (a network, or with '
            f"search='operation' its supernet), or search='stage'; got {told}."
        )
    return told


def family_of(backbone):
    """``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``: the mmdet class that it derives from."""
    names = [base.__name__.lower() for base in type(backbone).__mro__]
    return next(name for name in names if name in FAMILIES)
