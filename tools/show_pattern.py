"""Show a pattern file as a table and draw it as a heat map."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from mmic.analysis.show import pattern_table, plot_pattern
from mmic.files import check_new, read_json, write_file
from mmic.pattern import DilationPattern, is_published


def read_pattern(path):
    """Read a pattern file; a published one names no layers, so they are numbered."""
    if is_published(path):
        names = [f'conv{number}' for number, _ in enumerate(read_json(path), 1)]
        return DilationPattern.from_published(path, names)
    return DilationPattern.load(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('pattern', help='pattern file, of mmic or of the authors of IC-Conv')
    parser.add_argument(
        '--out', metavar='PNG', help='the heat map; default: beside the pattern, .png'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing picture')
    args = parser.parse_args()
    try:
        pattern = read_pattern(args.pattern)
        out = Path(args.out or Path(args.pattern).with_suffix('.png'))
        check_new(out, args.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f'show_pattern: {error}')
    Console(markup=False).print(pattern_table(pattern))
    write_file(out, lambda name: plot_pattern(pattern, name), args.overwrite)
    print(f'Wrote {out}')


if __name__ == '__main__':
    main()
