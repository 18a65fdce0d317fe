"""Run the steps of a chain, and on a second start only those that are not done."""

import json
import time
from pathlib import Path

from rich.markup import escape

from mmic.engine.commands import CommandRunner
from mmic.engine.reproduce import load_config
from mmic.engine.row_steps import SPLIT, TEST, TRAIN, option, with_flags
from mmic.files import BadFileError, read_json, write_file


class Journal:
    """Which steps have finished, by command, in a file.

    Args:
        path (Path): The file. Several runs may write into it one after the other.
    """

    def __init__(self, path):
        self.path = path

    def read(self):
        """Return ``{command: {'finished': time, 'seconds': number}}``.

        Raises:
            BadFileError: The file is broken.
        """
        if not self.path.is_file():
            return {}
        content = read_json(self.path)
        if not isinstance(content, dict) or not all(
            isinstance(entry, dict) and 'seconds' in entry for entry in content.values()
        ):
            raise BadFileError(f'{self.path}: not the journal of finished steps; remove it.')
        return content

    def write(self, command, entry):
        """Set the entry of a command, or remove it where ``entry`` is None."""
        content = self.read()
        content.pop(command, None)
        if entry:
            content[command] = entry
        write_json(self.path, content)


class ChainRunner:
    """Runs steps in order and remembers which have finished.

    Args:
        root (Path): Folder of the repository.
        folder (str | Path): Of the chain's logs, relative to ``root`` or not.
        journal (str | Path): File of finished steps, relative to ``root`` or not.
        console (rich.console.Console): Where to tell what runs.
        gpus (int): Processes of each training. Defaults to 1.
        overwrite (bool): Search again where there is a pattern. Defaults to False.
    """

    def __init__(self, root, folder, journal, console, gpus=1, overwrite=False):
        self.root, self.console = Path(root), console
        self.gpus, self.overwrite = gpus, overwrite
        self.commands = CommandRunner(root, Path(folder) / 'logs', console)
        self.journal = Journal(self.root / journal)

    def run(self, steps):
        """Run what is not done.

        A training that was stopped goes on from its last checkpoint; what reads a file that an
        earlier step has written anew is run again, from the start.

        Args:
            steps (list[Step]): See ``real_steps``.

        Returns:
            list[float | None]: Seconds of each step, of those done before what they took then,
            None where that is not known.

        Raises:
            RuntimeError: A step failed; the message has the end of its output.
        """
        written, renewed, seconds = set(), set(), []
        for number, step in enumerate(steps, 1):
            name = f'{number}_{step.name.replace(" ", "_")}'
            key = ' '.join(step.command)
            stale = bool(self._reads(step, written) & renewed)
            written |= set(step.writes)
            reason = self._done(step, key, stale)
            if reason:
                self.console.print(f'[bold]{name}[/]: {escape(reason)}', highlight=False)
                entry = self.journal.read().get(key, {})
                seconds.append(entry.get('seconds'))
                continue
            self.journal.write(key, None)
            self.commands.run(name, *self._command(step, stale))
            seconds.append(round(self.commands.seconds[name], 1))
            finished = time.strftime('%Y-%m-%d %H:%M:%S')
            self.journal.write(key, dict(finished=finished, seconds=seconds[-1]))
            renewed |= set(step.writes)
        return seconds

    def _reads(self, step, files):
        """Those of some files that a step's command or config names."""
        text = ' '.join(step.command)
        if step.config:
            text += repr(load_config(step.config).to_dict())
        return {file for file in files if file in text}

    def _done(self, step, key, stale):
        """Why a step is not run; None where it is."""
        files = [self.root / file for file in step.writes]
        if step.command[0] == TEST:
            files = list((self.root / option(step.command, '--work-dir')).glob('*/*.json'))
        exist = bool(files) and all(file.is_file() for file in files)
        if not exist:
            return None
        script, listed = step.command[0], ', '.join(step.writes)
        if script == SPLIT and '--overwrite' not in step.command:
            return f'{listed} exist and are kept'
        if script not in (TRAIN, TEST, SPLIT):
            return None if self.overwrite else f'{listed} exists and is kept (see --overwrite)'
        return 'finished before' if key in self.journal.read() and not stale else None

    def _command(self, step, stale):
        command = step.command
        if command[0] == TRAIN:
            last = self.root / Path(step.writes[0]).parent / 'last_checkpoint'
            if stale:
                last.unlink(missing_ok=True)
            elif last.is_file() and (self.root / last.read_text().strip()).is_file():
                command = with_flags(command, '--resume')
            if self.gpus > 1:
                launcher = ('-m', 'torch.distributed.run', f'--nproc_per_node={self.gpus}')
                command = (*launcher, *with_flags(command, '--launcher', 'pytorch'))
        elif self.overwrite and step.command[0] not in (TEST, SPLIT):
            command = with_flags(command, '--overwrite')
        return command


def write_json(path, content):
    """Write JSON, replacing the file."""
    text = json.dumps(content, indent=1) + '\n'
    write_file(path, lambda name: Path(name).write_text(text, encoding='utf-8'), overwrite=True)
