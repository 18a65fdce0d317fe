"""Read and write small files so that nothing of the user's is lost and nothing is trusted."""

import json
import os
import re
import tempfile
from pathlib import Path

# Bounds on JSON that is read: a pattern of ResNet-101 takes 30 KiB and 4 levels.
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 8


class BadFileError(ValueError):
    """A file that cannot be used; the message names it and what is wrong in it."""


def read_json(path):
    """Read JSON with bounds on its size and depth, refusing repeated keys and NaN.

    Args:
        path (str | Path): The file.

    Raises:
        BadFileError: Not JSON, cut short, too large or nested too deep.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadFileError(f'{path}: {size} bytes; at most {MAX_BYTES} are read.')
    try:
        text = path.read_text(encoding='utf-8')
        _check_depth(text)
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except BadFileError as error:
        raise BadFileError(f'{path}: {error}') from None
    except ValueError as error:
        raise BadFileError(f'{path}: not a whole JSON file: {error}') from None


def _check_depth(text):
    depth = 0
    for bracket in re.findall(r'[\[\]{}]', re.sub(r'"(?:[^"\\]|\\.)*"', '', text)):
        depth += 1 if bracket in '[{' else -1
        if depth > MAX_DEPTH:
            raise BadFileError(f'brackets nested deeper than {MAX_DEPTH}.')


def _unique(pairs):
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadFileError(f'key {twice!r} stands twice.')
    return data


def _refuse_constant(name):
    raise BadFileError(f'{name} is not a number.')


def check_new(path, overwrite=False):
    """Raise before any work is done if ``path`` cannot be written.

    Args:
        path (str | Path): The file that will be written.
        overwrite (bool): Whether an existing file may be replaced. Defaults to False.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        IsADirectoryError: ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder; name a file in it.')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists and is kept; pass --overwrite to replace it.')


def write_file(path, write, overwrite=False):
    """Write a file under a temporary name, then rename it: readers see all of it or none.

    Args:
        path (str | Path): The file to write. Missing folders are made.
        write (Callable[[str], None]): Writes the content to the file name it is given.
        overwrite (bool): Whether an existing file may be replaced. Defaults to False.

    Returns:
        Path: ``path``.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
    """
    path = Path(path)
    check_new(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because writers such as matplotlib choose the format by it.
    handle, temporary = tempfile.mkstemp(path.suffix, f'.{path.stem}-', path.parent)
    os.close(handle)
    try:
        write(temporary)
        # mkstemp makes private files; results get the permissions of any other new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
