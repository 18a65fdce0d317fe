"""Try config files: build the model, train it for one step and evaluate it, on generated data.

Results are kept; a config that passed is tried again only when it or what it inherits has
changed. docs/test_configs.md explains what a trial is.
"""

import argparse
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mmic.datasets.generated import make_generated
from mmic.engine.command_line import run
from mmic.engine.rows import ROOT
from mmic.engine.tables import print_table
from mmic.engine.trial_all import TrialJournal, try_all
from mmic.files import check_folder

# So few that an evaluation takes a step or two; half of the first are a search's other split.
NUM_TRAIN, NUM_VAL = 4, 2


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        'configs',
        nargs='*',
        metavar='CONFIG',
        help='files, folders, or patterns such as "configs/*/imagenet/do-*", as they are called '
        'in the repository; default: configs',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/test_configs',
        help='where results and the logs of failures go; default: work_dirs/test_configs',
    )
    parser.add_argument(
        '--data-root', metavar='DIR', help='the generated data; default: data in the work dir'
    )
    parser.add_argument(
        '--jobs', type=int, default=1, metavar='N', help='processes, of a core each; default: 1'
    )
    parser.add_argument('--fresh', action='store_true', help='forget earlier results')
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    return args


def find_configs(patterns):
    """Return the config files that are meant, those of the repository relative to it, sorted.

    Raises:
        FileNotFoundError: Nothing is called so.
    """
    ours = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in path.parts
    ]
    found = set()
    for pattern in patterns or ['configs']:
        name = Path(pattern).as_posix()
        chosen = [path for path in ours if fnmatch(path, name) or path.startswith(f'{name}/')]
        if not chosen and Path(pattern).is_file():
            path = Path(pattern).resolve()
            chosen = [path.relative_to(ROOT) if ROOT in path.parents else path]
        if not chosen:
            raise FileNotFoundError(f'There is no config {pattern}.')
        found.update(map(str, chosen))
    return sorted(found)


def print_failures(failures, console):
    table = Table('config', 'error, and the file with its traceback', show_lines=True)
    for column in table.columns:
        column.overflow = 'fold'
    for result in failures:
        where = f'\n{result["traceback"]}' if 'traceback' in result else ''
        table.add_row(result['config'], result['error'] + where)
    print_table(console, table)


def main():
    args = parse_args()
    console = Console(markup=False, highlight=False)
    configs = find_configs(args.configs)
    work_dir = Path(args.work_dir)
    check_folder(work_dir)
    journal_path = work_dir / 'results.jsonl'
    if args.fresh:
        journal_path.unlink(missing_ok=True)
    journal = TrialJournal(journal_path)
    data_root = Path(args.data_root or work_dir / 'data')
    with console.status(f'Making generated data in {data_root}'):
        overwrite = args.data_root is None  # what an earlier version made there
        make_generated(data_root, num_train=NUM_TRAIN, num_val=NUM_VAL, overwrite=overwrite)
    known, failures, start = dict(journal.results), [], time.perf_counter()
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task('configs', total=len(configs))
        for result in try_all(configs, journal, data_root, work_dir, args.jobs):
            progress.advance(task)
            if not result['ok']:
                failures.append(result)
                console.print(f'failed: {result["config"]}', style='red', soft_wrap=True)
    old = sum(journal.results[config] == known.get(config) for config in configs)
    console.print(
        f'{len(configs)} configs: {len(configs) - len(failures)} passed, {old} of them before; '
        f'{len(failures)} failed; {time.perf_counter() - start:.0f} s. Results: {journal_path}',
        soft_wrap=True,
    )
    if failures:
        print_failures(failures, console)
        sys.exit(1)


if __name__ == '__main__':
    run(main)
