"""From every result that the papers print to the commands that reproduce it.

The table of results is configs/rows; docs/reproduce.md explains it.
"""

import argparse
import shlex
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmic.engine.command_line import run
from mmic.engine.report import read_results, report_html, report_markdown
from mmic.engine.reproduce import inputs_of, steps_of
from mmic.engine.row_options import option_words
from mmic.engine.rows import OPTIONS, PAPERS, ROOT, find_row, read_rows, resolve
from mmic.engine.run_rows import add_results, run_row, run_toy
from mmic.engine.tables import print_table
from mmic.engine.toy_rows import TOY_CHAINS, toy_folder
from mmic.files import check_new, check_outputs, write_file

PLAIN_START = (
    "starts from the plain network's published ImageNet weights; without --from-plain the network "
    'is trained on ImageNet as it is'
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
    show.add_argument(
        '--from-plain',
        action='store_true',
        help="cheaper: no ImageNet training, start from the plain network's published weights",
    )
    run = commands.add_parser('run', help='run these commands; those that are done are skipped')
    run.add_argument('id', help='id of the row, as list prints it')
    run.add_argument(
        '--toy',
        action='store_true',
        help='on a few generated images, for an epoch, in work_dirs/toy/ID: to see the chain work',
    )
    run.add_argument('--data-root', metavar='DIR', help='folder of the data sets; default: data')
    run.add_argument(
        '--gpus', type=int, default=1, metavar='N', help='processes of each training; default: 1'
    )
    run.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale learning rates from the configs' number of images per step to yours",
    )
    run.add_argument('--from-plain', action='store_true', help='see show')
    run.add_argument(
        '--overwrite',
        action='store_true',
        help='search again where there is a pattern, replace it, and train anew what reads it',
    )
    run.add_argument(
        '--results',
        metavar='FILE.json',
        help='add what is measured to this file, for report --results',
    )
    chains = commands.add_parser('chains', help='run --toy for a row of each family; a table')
    chains.add_argument(
        '--resume', action='store_true', help='skip what is done; default: start over'
    )
    chains.add_argument('--only', choices=TOY_CHAINS, metavar='FAMILY', help='one of the families')
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
    if args.command == 'run':
        check_run(args, parser)
    if args.command == 'report' and args.out and Path(args.out).suffix not in WRITERS:
        parser.error(f'--out writes .md or .html, got {args.out}')
    return args


def check_run(args, parser):
    if args.gpus < 1:
        parser.error(f'--gpus must be at least 1, got {args.gpus}')
    if args.toy and (args.data_root or args.results):
        parser.error(
            '--toy makes its own data and measures nothing to report; leave out '
            f'{"--data-root" if args.data_root else "--results"}'
        )
    if args.data_root:
        # Commands run from the repository's root.
        args.data_root = Path(args.data_root).resolve().as_posix()


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
    print_table(console, table)
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
    for note in dict.fromkeys((row.note, owner.note)):
        if note:
            console.print(f'note:     {note}')
    for name in OPTIONS:
        if getattr(owner, name):
            console.print(f'{name}: {", ".join(option_words(getattr(owner, name)))}')
    if not owner.config:
        console.print(f'commands: none. {owner.not_run or "There is no config yet (todo)."}')
        return
    steps = steps_of(rows, row.id, args.from_plain)
    if steps != steps_of(rows, row.id):
        console.print(f'note:     {PLAIN_START}')
    data, weights = inputs_of(steps)
    console.print(f'data:     {", ".join(data)}')
    if weights:
        console.print(f'weights:  {", ".join(weights)}')
    for number, step in enumerate(steps, 1):
        console.print(f'\n# {number}. {step.name}')
        console.print(f'python {shlex.join(step.command)}')


def run_steps(args, rows, console):
    check_outputs([args.results], overwrite=True)
    common = dict(from_plain=args.from_plain, gpus=args.gpus, overwrite=args.overwrite)
    if args.results and Path(args.results).exists():
        read_results(args.results, rows)  # found to be broken before the work, not after it
    if args.toy:
        _, values = run_toy(rows, args.id, console, **common)
        folder = toy_folder(rows, args.id)
    else:
        flags = ['--auto-scale-lr'] if args.auto_scale_lr else []
        values = run_row(rows, args.id, console, args.data_root, flags, **common)
        folder = f'work_dirs/{resolve(rows, find_row(rows, args.id)).id}'
    row = find_row(rows, args.id)
    console.print(f'printed:  {row.printed() or "-"}')
    console.print(f'measured: {in_words(values)}' + (' (generated data)' if args.toy else ''))
    console.print(f'Wrote {folder}/results.json', markup=False)
    if args.results:
        add_results(Path(args.results), resolve(rows, row).id, values)
        console.print(f'Wrote {args.results}', markup=False)


def run_chains(args, rows, console):
    table = Table('family', 'row', 'steps', 'seconds', 'measured on generated data')
    failed = []
    for family in [args.only] if args.only else TOY_CHAINS:
        keys = TOY_CHAINS[family]
        if not args.resume:
            shutil.rmtree(ROOT / toy_folder(rows, keys[0]), ignore_errors=True)
        for key in keys:
            console.rule(f'{family}: {key}')
            try:
                seconds, values = run_toy(rows, key, console)
            except (ValueError, RuntimeError, OSError) as error:
                failed.append(key)
                console.print(error, markup=False)
                table.add_row(family, key, '', '', 'failed')
            else:
                time = f'{sum(value or 0 for value in seconds):.0f}'
                table.add_row(family, key, str(len(seconds)), time, in_words(values))
    print_table(console, table)
    if failed:
        raise RuntimeError(f'{len(failed)} failed: {", ".join(failed)}')


def in_words(values):
    return ', '.join(f'{name} {value}' for name, value in values.items()) or '-'


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
    runs = args.command in ('run', 'chains')
    # Ids and commands are printed as they are, on one line each.
    console = Console(soft_wrap=True, markup=runs, highlight=False)
    command = {
        'list': list_rows,
        'show': show_row,
        'run': run_steps,
        'chains': run_chains,
        'report': write_report,
    }[args.command]
    command(args, read_rows(), console)


if __name__ == '__main__':
    run(main, (RuntimeError, ValueError))
