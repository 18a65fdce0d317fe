"""From every result that the papers print to the commands that reproduce it.

The table of results is configs/rows; docs/reproduce.md explains it.
"""

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmic.engine.report import read_results, report_html, report_markdown
from mmic.engine.reproduce import inputs_of, steps_of
from mmic.engine.rows import PAPERS, find_row, read_rows, resolve
from mmic.files import check_new, write_file

PLAIN_START = (
    "starts from the plain network's ImageNet weights; the paper trains the method's network on "
    'ImageNet'
)
WRITERS = {'.md': report_markdown, '.html': report_html}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    commands = parser.add_subparsers(dest='command', required=True)
    listed = commands.add_parser('list', help='all rows, with config or reason')
    listed.add_argument('--paper', choices=PAPERS, help='rows of one paper')
    listed.add_argument(
        '--table', metavar='TABLE', help="rows of one table: its number, or as in 'Figure 6'"
    )
    listed.add_argument('--todo', action='store_true', help='rows that have no config yet')
    show = commands.add_parser('show', help='the commands that lead to a row, and what they need')
    show.add_argument('id', help='id of the row, as list prints it')
    report = commands.add_parser('report', help='printed results beside those measured here')
    report.add_argument(
        '--results',
        metavar='FILE.json',
        help="what was measured: {id: {metric: number}}, in the papers' units; default: nothing",
    )
    report.add_argument(
        '--out', metavar='FILE', help='write it there, .md or .html; default: print Markdown'
    )
    report.add_argument('--overwrite', action='store_true', help='replace an existing file')
    args = parser.parse_args()
    if args.command == 'report' and args.out and Path(args.out).suffix not in WRITERS:
        parser.error(f'--out writes .md or .html, got {args.out}')
    return args


def state_of(row, rows):
    """Return the state of a row, as counted by ``list``, and the words for it."""
    owner = resolve(rows, row)
    shared = f' (as {owner.id})' if owner is not row else ''
    if owner.config:
        return 'with a config', owner.config + shared
    if owner.todo:
        return 'todo', 'todo' + shared
    return 'not run', owner.not_run + shared


def list_rows(args, rows, console):
    def wanted(row):
        table = args.table in (None, row.table, row.table.replace('Table ', ''))
        paper = args.paper in (None, row.paper)
        return table and paper and (not args.todo or state_of(row, rows)[0] == 'todo')

    chosen = [row for row in rows.values() if wanted(row)]
    table = Table('row', 'table', 'network', 'printed', 'config below configs/, or why none')
    for column in table.columns:
        column.overflow = 'fold'
    # Ids are for copying.
    table.columns[0].no_wrap = True
    counts = {'with a config': 0, 'not run': 0, 'todo': 0}
    for row in chosen:
        state, words = state_of(row, rows)
        counts[state] += 1
        table.add_row(row.id, row.table, row.network, row.printed(2), words)
    console.print(table)
    numbers = ', '.join(f'{number} {state}' for state, number in counts.items())
    console.print(f'{len(chosen)} rows: {numbers}')


def show_row(args, rows, console):
    row = find_row(rows, args.id)
    owner = resolve(rows, row)
    console.print(f'{row.id}: {row.table}, {row.network}, {row.dataset or "no data set"}')
    console.print(f'printed:  {row.printed() or "-"}')
    if row.baseline:
        console.print(f'baseline: {row.baseline}: {rows[row.baseline].printed() or "-"}')
    if owner is not row:
        console.print(f'the same training as {owner.id}')
    for note in dict.fromkeys((row.note, owner.note, PLAIN_START if owner.init else None)):
        if note:
            console.print(f'note:     {note}')
    if not owner.config:
        console.print(f'commands: none. {owner.not_run or "There is no config yet (todo)."}')
        return
    steps = steps_of(rows, row.id)
    data, weights = inputs_of(steps)
    console.print(f'data:     {", ".join(data)}')
    if weights:
        console.print(f'weights:  {", ".join(weights)}')
    for number, step in enumerate(steps, 1):
        console.print(f'\n# {number}. {step.name}')
        console.print(f'python {shlex.join(step.command)}')


def write_report(args, rows, console):
    results = read_results(args.results, rows) if args.results else {}
    if not args.out:
        console.print(report_markdown(rows, results))
        return
    check_new(args.out, args.overwrite)
    text = WRITERS[Path(args.out).suffix](rows, results)
    write_file(args.out, lambda name: Path(name).write_text(text, encoding='utf-8'), args.overwrite)
    console.print(f'Wrote {args.out}')


def main():
    args = parse_args()
    # Ids and commands are printed as they are, on one line each.
    console = Console(soft_wrap=args.command != 'list', markup=False, highlight=False)
    run = {'list': list_rows, 'show': show_row, 'report': write_report}[args.command]
    try:
        run(args, read_rows(), console)
    except (ValueError, OSError) as error:
        sys.exit(f'reproduce: {error}')


if __name__ == '__main__':
    main()
