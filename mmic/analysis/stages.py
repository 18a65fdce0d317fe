"""Draw networks of CR-NAS as sketches: a box for each stage, a cell for each block.

Liang et al., ICLR 2020, Figure 4.
"""

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Sequence, Tuple

from mmic.analysis.lattice_plot import Colour, dilation_colours, ink_on
from mmic.models.block_dilations import BLOCK_CONV
from mmic.pattern import DilationPattern, PatternError
from mmic.search.cr_archs import PUBLISHED, Architecture, free_units, published, split_codes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGES = ('stage 1', 'stage 2', 'stage 3', 'stage 4')
# MobileNetV2's ten units; the groups by their output channels.
UNITS = ('stem', *(f'{width} ch' for width in (16, 24, 32, 64, 96, 160, 320)), 'last', 'pool')
FIXED = (0.88, 0.88, 0.88, 1.0)
GAP = 0.8  # between stages, in blocks


class Sketch(NamedTuple):
    """What is drawn of a network.

    Attributes:
        name (str): What is written above it.
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.
        stage_blocks (tuple[int, ...]): Blocks per stage, or per unit of MobileNetV2.
        dilations (tuple[int, ...]): One per block.
    """

    name: str
    family: str
    stage_blocks: Tuple[int, ...]
    dilations: Tuple[int, ...]

    def stages(self) -> List[Tuple[int, ...]]:
        """Dilations by stage."""
        return split_codes(self.stage_blocks, self.dilations)


def sketch_architecture(found: Architecture) -> Sketch:
    """The sketch of a published network."""
    return Sketch(found.name, found.family, found.stage_blocks, found.dilations)


def sketch_family(name: str) -> List[Sketch]:
    """Sketches of the plain, the stage-searched and the fully searched network, as in Figure 4.

    Args:
        name (str): One of the three, ``'CR-ResNet50'`` for example.

    Returns:
        list[Sketch]: Those that the paper has: of ResNeXt no fully searched one.

    Raises:
        ValueError: The paper has no such network.
    """
    plain = published(name).name.rpartition('R-')[2]
    names = [prefix + plain for prefix in ('', 'SCR-', 'CR-')]
    return [sketch_architecture(PUBLISHED[name]) for name in names if name in PUBLISHED]


def sketch_pattern(pattern: DilationPattern) -> Sketch:
    """The sketch of a network that CR-NAS found.

    Args:
        pattern (DilationPattern): With ``stage_blocks`` and one dilation for each block.

    Raises:
        PatternError: Another one; the message names the file and the layer.
    """
    blocks = tuple(pattern.stage_blocks or ())
    if len(blocks) not in (len(STAGES), len(UNITS)):
        raise PatternError(
            f'{pattern.source}: stages can be drawn of files with stage_blocks, of {len(STAGES)} '
            f'stages or the {len(UNITS)} units of MobileNetV2; here they are {list(blocks)}.'
        )
    family = 'resnet' if len(blocks) == len(STAGES) else 'mobilenetv2'
    units = free_units(family, blocks)
    if len(pattern.layers) != len(units):
        raise PatternError(
            f'{pattern.source}: {len(pattern.layers)} layers for {len(units)} blocks; stages are '
            'drawn of files with one layer a block, as CR-NAS writes them.'
        )
    dilations = [1] * sum(blocks)
    for unit, (name, layer) in zip(units, pattern.layers.items()):
        found = layer.dilations.unique().tolist()
        if len(found) > 1 or not BLOCK_CONV.match(name):
            raise PatternError(
                f'{pattern.source}: layer {name!r} has dilations {found}; stages are drawn of '
                'files with one dilation a block, as CR-NAS writes them.'
            )
        dilations[unit] = found[0]
    return Sketch(pattern.source, family, blocks, tuple(dilations))


def stages_figure(sketches: Sequence[Sketch]) -> 'Figure':
    """Draw networks one below the other, their blocks from input to output.

    Args:
        sketches (Sequence[Sketch]): One axes each.

    Returns:
        matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colours = dilation_colours(sorted({rate for sketch in sketches for rate in sketch.dilations}))
    reach = max(sum(s.stage_blocks) + GAP * (len(s.stage_blocks) - 1) for s in sketches)
    size = (max(5.0, 1.0 + 0.42 * reach), 0.9 + 1.15 * len(sketches))
    figure = Figure(figsize=size, layout='constrained')
    for axes, sketch in zip(figure.subplots(len(sketches), 1, squeeze=False)[:, 0], sketches):
        _draw(axes, sketch, colours)
        axes.set_xlim(-0.2, reach + 0.2)
    axes.set_xlabel('blocks, from input to output', fontsize=9)
    handles = [
        Patch(facecolor=colour, edgecolor='black', label=f'dilation {rate}')
        for rate, colour in colours.items()
    ]
    if any(sketch.family == 'mobilenetv2' for sketch in sketches):
        handles.append(Patch(facecolor=FIXED, edgecolor='black', label='no dilation to choose'))
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), fontsize=8)
    return figure


def _draw(axes: 'Axes', sketch: Sketch, colours: Dict[int, Colour]) -> None:
    """Draw one network."""
    from matplotlib.patches import Rectangle

    free = free_units(sketch.family, sketch.stage_blocks)
    left, unit, centres = 0.0, 0, []
    for dilations in sketch.stages():
        frame = (left - 0.15, -0.15), len(dilations) + 0.3, 1.3
        axes.add_patch(Rectangle(*frame, fill=False, edgecolor='grey', linewidth=0.8))
        for place, rate in enumerate(dilations):
            colour = colours[rate] if unit in free else FIXED
            cell = Rectangle((left + place, 0), 1, 1, facecolor=colour, edgecolor='black')
            axes.add_patch(cell)
            if unit in free:
                middle = (left + place + 0.5, 0.5)
                axes.text(*middle, str(rate), ha='center', va='center', color=ink_on(colour))
            unit += 1
        centres.append(left + len(dilations) / 2)
        left += len(dilations) + GAP
    names = UNITS if sketch.family == 'mobilenetv2' else STAGES
    axes.set_xticks(centres, names, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(ylim=(-0.2, 1.2), aspect='equal')
    counts = ', '.join(map(str, sketch.stage_blocks))
    axes.set_title(f'{sketch.name}: {counts} blocks', fontsize=9, loc='left')
