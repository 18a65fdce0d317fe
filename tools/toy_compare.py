"""Compare all methods in one network on generated data, over several seeds.

Plain, IC (three searches on one supernet), PS, DO, NATS and CR-NAS in a Faster R-CNN with a
narrow ResNet-18. Every network is trained for equally many epochs and goes on from a detector
that was trained for as many. With the supernets these are 14 trainings a seed of 2 to 7 minutes
each; with the defaults expect 1.5 to 2 hours on 2 CPU cores that nothing else uses.

A comparison that was stopped goes on when the same command is given again.
"""

import argparse
import logging
import os
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmic.engine.arguments import whole
from mmic.engine.chain_runner import write_json
from mmic.engine.command_line import run
from mmic.engine.step_pool import StepPool
from mmic.engine.toy_chains import ToyChain
from mmic.engine.toy_compare import chain_args, keep_setting, plan, share
from mmic.engine.toy_results import report, seed_results, summary
from mmic.files import check_folder, write_file

ROOT = Path(__file__).resolve().parent.parent


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='S', help='default: 0 1 2'
    )
    parser.add_argument(
        '--jobs', type=int, default=2, help='steps at a time, of one thread each; default: 2'
    )
    parser.add_argument('--epochs', type=int, default=6, help='of each training; default: 6')
    parser.add_argument('--num-train', type=whole(1), default=400, help='images; default: 400')
    parser.add_argument('--num-val', type=whole(1), default=240, help='images; default: 240')
    parser.add_argument('--work-dir', help='of data and results; default: work_dirs/toy_compare')
    parser.add_argument('--list', action='store_true', help='print the steps, run nothing')
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='one epoch on a few images, no use; --work-dir is work_dirs/toy_compare_smoke',
    )
    args = parser.parse_args()
    if args.smoke:
        args.epochs, args.num_train, args.num_val = 1, 16, 8
    for name in ('jobs', 'epochs'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be 1 or more, got {getattr(args, name)}')
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        parser.error(f'--seeds must be different numbers from 0 up, got {args.seeds}')
    folder = args.work_dir or f'work_dirs/toy_compare{"_smoke" if args.smoke else ""}'
    args.work_dir = Path(folder).resolve()
    return args


def run_steps(args, steps, console):
    """Run what is not finished, with a line for each step and the time left.

    Returns:
        dict[str, float]: Seconds of each step, by its name.
    """
    # Two steps at a time cannot both draw their own bar.
    commands = ToyChain(ROOT, chain_args(args), Console(quiet=True))
    pool = StepPool(
        ROOT,
        args.work_dir / 'finished_steps.json',
        lambda step: commands.run(step.name, *step.command, writes=step.writes),
        args.jobs,
    )
    finished = pool.finished(steps)
    left = [step for step in steps if step.name not in finished]
    if finished:
        console.print(f'{len(finished)} of {len(steps)} steps have finished before')
    start, total = time.perf_counter(), sum(map(share, left))
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task('steps', total=len(steps), completed=len(finished))
        running, done = [], []

        def on_start(step):
            running.append(step.name)
            bar.update(task, description=', '.join(running))

        def on_end(step, seconds):
            running.remove(step.name)
            done.append(step)
            bar.update(task, advance=1, description=', '.join(running))
            gone = sum(map(share, done))
            told = f'{step.name}: {seconds:.0f} s'
            if gone >= 1:  # data and searches alone say little about trainings
                minutes = (time.perf_counter() - start) * (total / gone - 1) / 60
                told += f'; about {minutes:.0f} min left'
            console.print(told)

        pool.run(steps, on_start, on_end)
    return pool.seconds(steps)


def main():
    args = parse_args()
    # Narrow convolutions take several times as long on two threads as on one.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    console = Console(soft_wrap=True, highlight=False)
    check_folder(args.work_dir)
    steps = plan(ROOT, args)
    if args.list:
        for step in steps:
            print(f'{step.name}: {step.key}')
        return
    setting = keep_setting(args)
    seconds = run_steps(args, steps, console)
    logging.disable(logging.WARNING)  # of operators that the counter of multiply-adds ignores
    results = seed_results(args, seconds)
    text = report(results)
    content = dict(setting=setting, summary=summary(results), seeds=results, seconds=seconds)
    write_json(args.work_dir / 'results.json', content)
    write_file(args.work_dir / 'table.md', lambda name: Path(name).write_text(text), overwrite=True)
    console.print(text, markup=False)
    console.print(f'In {args.work_dir}: table.md, results.json')


if __name__ == '__main__':
    run(main, (RuntimeError, ValueError))
