"""What mmengine logs of a training: a line of JSON for each record of scalars."""

import json
from pathlib import Path

from mmic.files import BadFileError


def read_scalars(folder):
    """Read the records of a training in the order in which they were written.

    A record of training iterations has ``epoch`` where epochs are counted, else ``iter``; one of
    a validation has neither, and the epoch or iteration as ``step``.

    Args:
        folder (str | Path): Work dir of the training, resumed or not, or one of its files
            ``scalars.json``.

    Returns:
        list[dict[str, float]]: What was run again after an interruption stands twice, the later
        run behind. A last line cut short, as when the process was killed, is left out.

    Raises:
        FileNotFoundError: No log of scalars is there.
        BadFileError: A line is no JSON object.
    """
    folder = Path(folder)
    # Folders are named by the time of the start.
    files = [folder] if folder.is_file() else sorted(folder.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{folder} holds no */vis_data/scalars.json of a training.')
    return [record for file in files for record in _read_file(file)]


def _read_file(file):
    records = []
    # Behind the last line break is nothing, or what a killed process had begun to write.
    lines = file.read_text(encoding='utf-8').split('\n')[:-1]
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise BadFileError(f'{file}, line {number}: expected a JSON object, got {line[:40]!r}.')
        records.append(record)
    return records
