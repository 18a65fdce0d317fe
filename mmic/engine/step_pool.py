"""Run steps that need one another, several at a time, and on a second start what is left."""

import shlex
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Tuple

from mmic.engine.chain_runner import Journal


@dataclass(frozen=True)
class PlannedStep:
    """A command, and the steps that have to be finished before it.

    Attributes:
        name (str): What it is called, here and in its log's file name.
        command (tuple[str]): Script and arguments, for ``python``, from the repository's root.
        writes (tuple[str]): Files that later steps read.
        needs (tuple[str]): Names of steps.
    """

    name: str
    command: Tuple[str, ...]
    writes: Tuple[str, ...]
    needs: Tuple[str, ...] = ()

    @property
    def key(self):
        """The command as one would type it, by which the journal knows the step."""
        return f'python {shlex.join(self.command)}'


class StepPool:
    """Runs steps and remembers which have finished.

    Args:
        root (Path): Folder that commands run in and ``writes`` are relative to.
        journal (Path): File of finished steps.
        run (Callable[[PlannedStep], None]): Runs one; raises RuntimeError where it fails.
        jobs (int): How many run at a time. Defaults to 1.
    """

    def __init__(self, root, journal, run, jobs=1):
        self.root, self.journal = root, Journal(journal)
        self.run_step, self.jobs = run, jobs

    def finished(self, steps):
        """Find the steps that need not run again.

        A step is finished if its very command has finished before, what it wrote is there, and
        so it is with all steps that it needs.

        Args:
            steps (list[PlannedStep]): Each behind those that it needs.

        Returns:
            set[str]: Their names.

        Raises:
            BadFileError: The journal is broken.
        """
        entries, names = self.journal.read(), set()
        for step in steps:
            exist = all((self.root / file).is_file() for file in step.writes)
            if step.key in entries and exist and names.issuperset(step.needs):
                names.add(step.name)
        return names

    def run(self, steps, on_start=lambda step: None, on_end=lambda step, seconds: None):
        """Run what is not finished; the first that can run comes first.

        After a failure no further step is started, and those that run are waited for.

        Args:
            steps (list[PlannedStep]): Each behind those that it needs.
            on_start (Callable[[PlannedStep], None]): Called before each step.
            on_end (Callable[[PlannedStep, float], None]): Called after each with its seconds.

        Raises:
            RuntimeError: A step failed.
            BadFileError: The journal is broken.
        """
        finished = self.finished(steps)
        waiting = [step for step in steps if step.name not in finished]
        for step in waiting:
            # A stop must not leave a result that is older than what it is made of.
            self.journal.write(step.key, None)
        running, error = {}, None
        with ThreadPoolExecutor(self.jobs) as pool:
            while running or (waiting and not error):
                for step in list(waiting):
                    if error or len(running) == self.jobs:
                        break
                    if finished.issuperset(step.needs):
                        waiting.remove(step)
                        on_start(step)
                        running[pool.submit(self._timed, step)] = step
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    error = error or future.exception()
                    if future.exception():
                        continue
                    seconds = round(future.result(), 1)
                    now = time.strftime('%Y-%m-%d %H:%M:%S')
                    self.journal.write(step.key, dict(finished=now, seconds=seconds))
                    finished.add(step.name)
                    on_end(step, seconds)
        if error:
            raise error

    def _timed(self, step):
        start = time.perf_counter()
        self.run_step(step)
        return time.perf_counter() - start

    def seconds(self, steps):
        """Return ``{name: seconds}`` of finished steps."""
        entries = self.journal.read()
        return {step.name: entries[step.key]['seconds'] for step in steps}
