"""Read and write small files so that nothing of the user's is lost and nothing is trusted."""

import errno
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Callable, Iterable, Union

# Bounds on JSON that is read: a pattern of ResNet-101 takes 30 KiB and 4 levels.
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 8
# What torch.save raises as RuntimeError where the disk is full.
UNWRITTEN = 'unexpected pos|PytorchStreamWriter|iostream error'


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


def check_new(path: Union[str, Path], overwrite: bool = False) -> None:
    """Raise before any work is done if ``path`` cannot be written.

    Args:
        path (str | Path): The file that will be written.
        overwrite (bool): Whether an existing file may be replaced. Defaults to False.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        IsADirectoryError: ``path`` is a folder.
        OSError: There is no writing in its folder, see :func:`check_folder`.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder; name a file in it.')
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists and is kept; pass --overwrite to replace it.')
    check_folder(path.parent, path)


def check_outputs(
    outputs: Iterable[Union[str, Path, None]],
    inputs: Iterable[Union[str, Path, None]] = (),
    overwrite: bool = False,
) -> None:
    """Raise before any work is done if a command cannot write its files.

    Args:
        outputs (Iterable[str | Path | None]): Files that it will write; None stands for none.
        inputs (Iterable[str | Path | None]): Files that it reads, which ``overwrite`` does not
            give up. Defaults to none.
        overwrite (bool): Whether existing files may be replaced. Defaults to False.

    Raises:
        BadFileError: A file is an input, or two are the same.
        OSError: See :func:`check_new`.
    """
    taken = {os.path.realpath(path) for path in inputs if path}
    for path in outputs:
        if not path:
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise BadFileError(f'{path} is named twice, once to be written; name another file.')
        taken.add(real)
        check_new(path, overwrite)


def check_folder(folder: Union[str, Path], wanted: Union[str, Path, None] = None) -> None:
    """Raise before any work is done if nothing can be written in a folder, which need not exist.

    Args:
        folder (str | Path): The folder. Missing ones are not made.
        wanted (str | Path, optional): What will be written, for messages. Defaults to None: the
            folder.

    Raises:
        NotADirectoryError: It, or a part of its path, is a file.
        PermissionError: Writing is not permitted, or the file system is read-only.
    """
    wanted, folder = wanted or folder, Path(folder).absolute()
    # An unreachable part of the path counts as missing; the one above it then tells.
    there = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    if not there.is_dir():
        raise NotADirectoryError(f'{wanted} cannot be written: {there} is not a folder.')
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(
            f'{wanted} cannot be written: there is no permission to write in {there}, or it is '
            'read-only. Write elsewhere.'
        )


def write_file(
    path: Union[str, Path], write: Callable[[str], None], overwrite: bool = False
) -> Path:
    """Write a file under a temporary name, then rename it: readers see all of it or none.

    Args:
        path (str | Path): The file to write. Missing folders are made.
        write (Callable[[str], None]): Writes the content to the file name it is given.
        overwrite (bool): Whether an existing file may be replaced. Defaults to False.

    Returns:
        Path: ``path``.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        OSError: It cannot be written, for want of room or of a permission; it names ``path``.
    """
    path = Path(path)
    check_new(path, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept because writers such as matplotlib choose the format by it.
        handle, temporary = tempfile.mkstemp(path.suffix, f'.{path.stem}-', path.parent)
    except OSError as error:
        raise _named(error, path) from error
    os.close(handle)
    try:
        write(temporary)
        # mkstemp makes private files; results get the permissions of any other new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise _named(error, path) from error
        # torch's writer has no other word for a write that failed.
        if isinstance(error, RuntimeError) and re.search(UNWRITTEN, str(error)):
            what = 'no space is left on the device, or a limit of sizes is reached'
            raise OSError(errno.ENOSPC, what, str(path)) from error
        raise
    return path


def _named(error: OSError, path: Path) -> OSError:
    """The same error about the file that was asked for, not about the temporary one."""
    return OSError(error.errno, error.strerror, str(path)) if error.errno else error
