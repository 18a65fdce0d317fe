"""Draw dilations: a pattern file's, a published network's of CR-NAS, or a PSConv layer's.

A pattern file is shown as a table, and drawn as a heat map or, where CR-NAS wrote it, as stages.
A name of CR-NAS is drawn with its plain and stage-searched networks; several names and files of
CR-NAS are drawn as they are. --cycle draws the kernel lattice of PSConv, --layer that of a layer
of a file.
"""

import argparse
from pathlib import Path

from rich.console import Console

from mmic.analysis.lattice import pattern_lattice, psconv_lattice
from mmic.analysis.lattice_plot import lattice_figure
from mmic.analysis.show import pattern_figure, pattern_table
from mmic.analysis.stages import sketch_architecture, sketch_family, sketch_pattern, stages_figure
from mmic.engine.command_line import run
from mmic.engine.tables import print_table
from mmic.files import check_outputs, read_json, write_file
from mmic.layers.ps_conv import AXES
from mmic.pattern import DilationPattern, is_published
from mmic.search.cr_archs import PUBLISHED, published

# Where pictures go of what is no file.
PICTURES = Path('work_dirs')
DPI = 120


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'what',
        nargs='*',
        metavar='PATTERN | ARCH',
        help='pattern file, of mmic or of the authors of IC-Conv, or a network of CR-NAS, '
        'CR-ResNet50 for example',
    )
    parser.add_argument('--heat-map', action='store_true', help='draw a heat map of any file')
    parser.add_argument('--layer', metavar='NAME', help='draw the lattice of this layer of a file')
    parser.add_argument(
        '--cycle', nargs='+', type=int, metavar='DILATION', help='draw PSConv with this cycle'
    )
    layer = parser.add_argument_group('with --cycle; several axes or groups are drawn side by side')
    layer.add_argument('--axes', nargs='+', choices=AXES, help='default: both')
    layer.add_argument('--groups', nargs='+', type=int, metavar='G', help='default: 1')
    layer.add_argument(
        '--channels', nargs=2, type=int, metavar=('C_IN', 'C_OUT'), help='default: 16 16'
    )
    layer.add_argument(
        '--rearranged', action='store_true', help='beside it the lattice with channels sorted'
    )
    parser.add_argument(
        '--out',
        metavar='PNG',
        help='picture to write; default: beside the file, or in work_dirs/, .png',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing picture')
    args = parser.parse_args()
    if bool(args.what) == bool(args.cycle):
        parser.error('name pattern files or networks of CR-NAS, or give --cycle')
    if args.what and (args.axes or args.groups or args.channels or args.rearranged):
        parser.error('--axes, --groups, --channels and --rearranged go with --cycle')
    if (args.heat_map or args.layer) and (len(args.what) != 1 or not is_file(args.what[0])):
        parser.error('--heat-map and --layer take one pattern file')
    return args


def is_file(what):
    """Whether an argument means a pattern file and not a name of CR-NAS."""
    return what not in PUBLISHED and (Path(what).suffix == '.json' or Path(what).is_file())


def read_pattern(path):
    """Read a pattern file; a published one names no layers, so they are numbered."""
    if is_published(path):
        names = [f'conv{number}' for number, _ in enumerate(read_json(path), 1)]
        return DilationPattern.from_published(path, names)
    return DilationPattern.load(path)


def psconv_figure(args):
    """Draw the lattices that the options ask for."""
    axes, groups = args.axes or ['both'], args.groups or [1]
    count = max(len(axes), len(groups))
    for label, values in (('--axes', axes), ('--groups', groups)):
        if len(values) not in (1, count):
            raise ValueError(f'{label} has {len(values)} values for {count} lattices; 1 is for all')
    channels = args.channels or [16, 16]
    if min(*channels, *groups) < 1:
        raise ValueError(f'channels and groups are at least 1, got {channels} and {groups}.')
    lattices = []
    for axis, group in zip(axes * (count // len(axes)), groups * (count // len(groups))):
        for rearranged in (False, True) if args.rearranged else (False,):
            try:
                found = psconv_lattice(args.cycle, *channels, group, axis, rearranged)
            except ValueError as error:
                told = f'--channels {channels[0]} {channels[1]} --groups {group} --axes {axis}'
                raise ValueError(f'{told}: {error}') from None
            lattices.append(found)
    return lattice_figure(lattices)


def layer_figure(pattern, name):
    """Draw the lattice of one layer of a file."""
    if name not in pattern.layers:
        raise ValueError(
            f'{pattern.source}: there is no layer {name!r}; it has {", ".join(pattern.layers)}.'
        )
    return lattice_figure([pattern_lattice(name, pattern.layers[name])])


def make_figure(args, patterns, console):
    """Draw what the arguments name.

    Args:
        args (argparse.Namespace): Of the command.
        patterns (dict[str, DilationPattern]): The files among ``args.what``.
        console (Console): Gets the dilations of networks that are drawn as stages.

    Returns:
        matplotlib.figure.Figure
    """
    if args.cycle:
        return psconv_figure(args)
    only = patterns.get(args.what[0]) if len(args.what) == 1 else None
    if args.layer:
        return layer_figure(only, args.layer)
    if only and (args.heat_map or only.method != 'cr_nas' or only.stage_blocks is None):
        return pattern_figure(only)
    if len(args.what) == 1 and not only:
        sketches = sketch_family(args.what[0])
    else:
        sketches = [
            sketch_pattern(patterns[what])
            if what in patterns
            else sketch_architecture(published(what))
            for what in args.what
        ]
    for sketch in sketches:
        stages = ' | '.join(' '.join(map(str, stage)) for stage in sketch.stages())
        console.print(f'{sketch.name}: dilations {stages}')
    return stages_figure(sketches)


def picture_of(args):
    """Where the picture goes unless --out says otherwise."""
    if args.cycle:
        return PICTURES / f'psconv_{"-".join(map(str, args.cycle))}.png'
    if is_file(args.what[0]):
        return Path(args.what[0]).with_suffix('.png')
    return PICTURES / f'{args.what[0]}.png'


def main():
    args = parse_args()
    # Names of files and layers are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False, highlight=False)
    patterns = {what: read_pattern(what) for what in args.what if is_file(what)}
    out = Path(args.out or picture_of(args))
    check_outputs([out], args.what, args.overwrite)
    figure = make_figure(args, patterns, console)
    for pattern in patterns.values():
        print_table(console, pattern_table(pattern))
    write_file(out, lambda name: figure.savefig(name, dpi=DPI), args.overwrite)
    print(f'Wrote {out}')


if __name__ == '__main__':
    run(main)
