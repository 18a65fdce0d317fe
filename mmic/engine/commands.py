"""Run the commands of a chain one after the other, each as a user would start it."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# "Epoch(train)  [2][20/40]  ... eta: 0:01:10", the log line of mmengine.
STEP = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
SHOWN_LINES = 15


class CommandRunner:
    """Runs Python commands with their output in log files, a progress bar, and the clock.

    Args:
        root (Path): Folder that the commands run in.
        logs (Path): Folder of the log files, one a command, relative to ``root`` or not.
        console (rich.console.Console): Where to tell what runs.

    Attributes:
        seconds (dict[str, float]): How long each command took, by its name.
    """

    def __init__(self, root, logs, console):
        self.root, self.logs, self.console = Path(root), Path(logs), console
        self.seconds = {}

    def run(self, name, *command):
        """Run a command.

        Args:
            name (str): What the step is called, here and in its log's file name.
            *command (str): Script and arguments.

        Raises:
            RuntimeError: It failed; the message has the end of its output.
        """
        log = self.root / self.logs / f'{name}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        # A command is for pasting: its brackets stay.
        pasted = escape(shlex.join(command))
        self.console.print(f'[bold]{name}[/]: python {pasted}', highlight=False)
        start = time.perf_counter()
        columns = TextColumn('  {task.description}'), BarColumn(), TimeElapsedColumn()
        bar = Progress(*columns, console=self.console, transient=True)
        with open(log, 'w', buffering=1) as file, bar:  # readable while it runs
            task = bar.add_task('starting', total=None)
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
            )
            for line in process.stdout:
                file.write(line)
                found = STEP.search(line)
                if found:
                    epoch, step, steps = map(int, found.groups())
                    done = f'epoch {epoch}, step {step} of {steps}'
                    bar.update(task, description=done, total=steps, completed=step)
        self.seconds[name] = time.perf_counter() - start
        if process.wait():
            tail = '\n'.join(log.read_text().splitlines()[-SHOWN_LINES:])
            raise RuntimeError(f'{name} failed; the end of {log}:\n{tail}')
        self.console.print(
            f'  {self.seconds[name]:.0f} s, log: {escape(str(self.logs / name))}.log',
            highlight=False,
        )
