"""A search's scores on disk, so that hundreds of evaluations survive being stopped.

The file has a line of JSON that says which search it is of, then one for each evaluation:
    {"format": "mmic.journal", "version": 1, "kind": "stages", "seed": 0}
    {"architecture": [1, 3, 5, 7], "score": 0.383, "seconds": 12.5}
Journals written before seconds were kept are continued.
"""

import json
import os
import time
from pathlib import Path
from typing import Union

from mmic.files import MAX_BYTES, BadFileError, write_file
from mmic.pattern import is_integer
from mmic.search.cr_nas import check_score

FORMAT = {'format': 'mmic.journal', 'version': 1}


class Journal:
    """Scores by architecture, each written to the file as soon as it is known.

    Of several processes that score together, one opens the file; the others open
    ``Journal(None, header)`` and take over its ``scores``, so that all agree on what to score.

    Args:
        path (str | Path, optional): The file; continued if it exists. None keeps the scores in
            memory alone.
        header (dict): What the scores depend on, as JSON can hold it: kind of search, config,
            checkpoint, seed, options.

    Attributes:
        header (dict): As above.
        scores (dict[tuple[int, ...], float]): What is known, in the order of evaluation.
        seconds (dict[tuple[int, ...], float]): How long each took, where that is known.

    Raises:
        BadFileError: The file is not a journal, is of another search (the message names the
            first field that differs), or a line in it is broken. A last line cut short, as when
            the process was killed, is removed instead: its architecture is scored again.
    """

    def __init__(self, path, header):
        self.path = None if path is None else Path(path)
        self.scores, self.seconds, self.header = {}, {}, header
        line = _encode({**FORMAT, **header})
        if self.path is None:
            return
        if self.path.is_file():
            self._read(json.loads(line))
        else:
            write_file(self.path, lambda name: Path(name).write_bytes(line))

    @classmethod
    def of_file(cls, path: Union[str, Path]) -> 'Journal':
        """Read a journal of whatever search, to look at its scores; the file is left as it is.

        Raises:
            FileNotFoundError: There is no such file.
            BadFileError: The file is not a journal, or a line in it is broken.
        """
        journal = cls(None, {})
        journal.path = Path(path)
        journal._read(None)
        return journal

    def score(self, function):
        """Wrap a scoring function so that it is called for unknown architectures only.

        Args:
            function (Callable[[tuple[int, ...]], float]): Its scores must be finite.

        Returns:
            Callable[[Sequence[int]], float]
        """

        def known_or_scored(architecture):
            architecture = tuple(map(int, architecture))
            if architecture not in self.scores:
                start = time.perf_counter()
                score = check_score(architecture, function(architecture))
                seconds = round(time.perf_counter() - start, 3)
                self._append({'architecture': architecture, 'score': score, 'seconds': seconds})
                self.scores[architecture], self.seconds[architecture] = score, seconds
            return self.scores[architecture]

        return known_or_scored

    def _append(self, entry):
        if self.path is None:
            return
        with open(self.path, 'ab') as file:
            file.write(_encode(entry))
            file.flush()
            os.fsync(file.fileno())

    def _read(self, header):
        size = self.path.stat().st_size
        if size > MAX_BYTES:
            raise BadFileError(f'{self.path}: {size} bytes; at most {MAX_BYTES} are read.')
        *lines, torn = self.path.read_bytes().split(b'\n')
        found = _decode(lines[0]) if lines else None
        if not isinstance(found, dict) or found.get('format') != FORMAT['format']:
            raise BadFileError(f'{self.path}: not the journal of a search.')
        if header is not None:
            self._check_header(found, header)
        self.header = found
        for number, line in enumerate(lines[1:], 2):
            self._read_entry(number, _decode(line))
        if torn and header is not None:
            os.truncate(self.path, size - len(torn))

    def _check_header(self, found, header):
        for key in {**found, **header}:
            if key in found and key in header and found[key] == header[key]:
                continue
            there, now = (
                repr(fields[key]) if key in fields else 'absent' for fields in (found, header)
            )
            raise BadFileError(
                f'{self.path}: the journal of another search: {key!r} is {there} in it and {now} '
                'now. Name another file, or remove this one to start afresh.'
            )

    def _read_entry(self, number, entry):
        keys = {'architecture', 'score'}
        whole = isinstance(entry, dict) and set(entry) - {'seconds'} == keys
        architecture = entry['architecture'] if whole else None
        if not isinstance(architecture, list) or not all(map(is_integer, architecture)):
            raise BadFileError(
                f'{self.path}, line {number}: expected {{"architecture": [integers], "score": '
                'number}. Restore the line, or remove it to have it scored again.'
            )
        architecture = tuple(architecture)
        try:
            score = check_score(architecture, entry['score'])
        except (ValueError, OverflowError) as error:
            raise BadFileError(f'{self.path}, line {number}: {error}') from None
        seconds = entry.get('seconds')
        if seconds is not None:
            if type(seconds) not in (int, float) or not 0 <= seconds < float('inf'):
                raise BadFileError(
                    f'{self.path}, line {number}: seconds must be a number from 0 up, got '
                    f'{seconds!r}.'
                )
            self.seconds[architecture] = float(seconds)
        if self.scores.setdefault(architecture, score) != score:
            raise BadFileError(
                f'{self.path}, line {number}: {architecture} has score {score}, and '
                f'{self.scores[architecture]} further up. Did two searches write at once?'
            )


def _encode(entry):
    return json.dumps(entry, allow_nan=False).encode() + b'\n'


def _decode(line):
    """The line's JSON, or None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
