"""Run the chain of a printed result, in full or at a small size, and write what it measured."""

from pathlib import Path

from mmic.engine.chain_runner import ChainRunner, write_json
from mmic.engine.reproduce import inputs_of, steps_of
from mmic.engine.row_metrics import measured
from mmic.engine.row_steps import DATA, real_steps
from mmic.engine.rows import ROOT, find_row, resolve
from mmic.engine.toy_rows import toy_folder, toy_steps
from mmic.files import read_json

JOURNAL = 'finished_steps.json'
# MMPretrain downloads them where they are missing.
DOWNLOADED = ('data/cifar10', 'data/cifar100')


def run_row(rows, key, console, data_root=None, flags=(), from_plain=False, **options):
    """Run the chain of a row on the papers' data.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        key (str): Id of the row.
        console (rich.console.Console): Where to tell what runs.
        data_root (str, optional): In place of ``data``. Defaults to None: ``data``.
        flags (Sequence[str]): Further flags of every training.
        from_plain (bool): See ``steps_of``. Defaults to False.
        **options: ``gpus`` and ``overwrite`` of ``ChainRunner``.

    Returns:
        dict[str, float | list[int]]: See ``measured``. They are also in the row's
        ``work_dirs/ID/results.json``.

    Raises:
        ValueError: See ``steps_of``.
        FileNotFoundError: Data are missing; nothing has been run.
        RuntimeError: A step failed.
    """
    row = resolve(rows, find_row(rows, key))
    steps = steps_of(rows, key, from_plain)
    check_data(steps, data_root)
    steps = real_steps(steps, data_root, flags)
    folder = f'work_dirs/{row.id}'
    ChainRunner(ROOT, folder, f'work_dirs/{JOURNAL}', console, **options).run(steps)
    values = measured(rows, row, steps, ROOT)
    add_results(ROOT / folder / 'results.json', row.id, values)
    return values


def run_toy(rows, key, console, folder=None, from_plain=False, **options):
    """Run the chain of a row at a small size, in a folder of its own.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        key (str): Id of the row.
        console (rich.console.Console): Where to tell what runs.
        folder (str | Path, optional): The folder. Defaults to None: see ``toy_folder``.
        from_plain (bool): See ``steps_of``. Defaults to False.
        **options: ``gpus`` and ``overwrite`` of ``ChainRunner``.

    Returns:
        tuple[list[float], dict[str, float | list[int]]]: Seconds of each step, and what was
        measured, see ``measured``; it is also in ``results.json`` in the folder.

    Raises:
        ValueError: See ``steps_of``.
        RuntimeError: A step failed.
    """
    row = resolve(rows, find_row(rows, key))
    folder = Path(folder or toy_folder(rows, key))
    steps = toy_steps(rows, key, folder, from_plain)
    seconds = ChainRunner(ROOT, folder, folder / JOURNAL, console, **options).run(steps)
    values = measured(rows, row, steps, ROOT)
    add_results(ROOT / folder / 'results.json', row.id, values)
    return seconds, values


def check_data(steps, data_root=None):
    """Raise FileNotFoundError unless all data sets of some steps are there."""
    names = [name for name in inputs_of(steps)[0] if name not in DOWNLOADED]
    places = [f'{data_root}/{name[len(DATA) :]}' if data_root else name for name in names]
    missing = [place for place in places if not (ROOT / place).is_dir()]
    if missing:
        raise FileNotFoundError(
            f'there is no {" and no ".join(missing)}; --data-root names the folder of all data '
            'sets, --toy runs the chain on generated ones'
        )


def add_results(path, key, values):
    """Set the results of a row in a file, which is made if it is not there."""
    content = read_json(path) if path.is_file() else {}
    write_json(path, {**content, key: values})
