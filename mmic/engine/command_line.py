"""How commands end: a fault that the user can mend is one line, others keep their traceback."""

import contextlib
import errno
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Callable, Iterator, Tuple, Type

from mmic.files import BadFileError

# What the packages that configs are of say about their own code, by the start of the message.
HOSTS_WARNINGS = (
    'pkg_resources is deprecated',
    'Deprecated call to `pkg_resources',
    'torch.meshgrid: in an upcoming release',
    'You are using `torch.load` with `weights_only=False`',
    r'`torch\.cuda\.amp\.',
    'faster_coco_eval is not installed',
    'Fail to import ``MultiScaleDeformableAttention``',
    'On January 1, 2023, MMCV will release',
    'The verbose parameter is deprecated',
    r"'has_\w+' is deprecated",
)
FULL = (errno.ENOSPC, errno.EDQUOT)


def run(
    main: Callable[[], None], expected: Tuple[Type[BaseException], ...] = (ValueError, ImportError)
) -> None:
    """Run a command.

    A file that cannot be read or written, an interruption and the ``expected`` errors end it with
    one line, ``COMMAND: what, which file``, and status 1. A reader of its output that has gone,
    as in ``COMMAND | head``, ends it silently with status 1.

    Args:
        main (Callable[[], None]): The command.
        expected (tuple[type[BaseException]]): Errors whose message tells a user what to do.
            Defaults to ValueError and ImportError.
    """
    command = Path(sys.argv[0]).stem
    quieten()
    logging.Handler.handleError = _raise_if_closed
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(f'\n{command}: interrupted')
    except (BadFileError, OSError, *expected) as error:
        sys.exit(f'{command}: {told(error)}')
    finally:
        logging.Handler.handleError = HANDLE_ERROR


@contextlib.contextmanager
def files_in(folder: str) -> Iterator[None]:
    """Say of a write that failed in which folder it was, where the error does not tell."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, folder) from error


def told(error: BaseException) -> str:
    """What an error says, for a file first its name."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    room = '; make room or write elsewhere' if error.errno in FULL else ''
    place = '' if error.filename is None else f'{error.filename}: '
    return f'{place}{error.strerror}{room}'


HANDLE_ERROR = logging.Handler.handleError


def _raise_if_closed(handler: logging.Handler, record: logging.LogRecord) -> None:
    """End where the reader of the output has gone; logging would print a traceback a line."""
    error = sys.exc_info()[1]
    if isinstance(error, BrokenPipeError):
        raise error
    HANDLE_ERROR(handler, record)


def quieten() -> None:
    """Leave out the hosts' warnings about their own code, unless warnings are asked for.

    ``python -W default`` and ``PYTHONWARNINGS=default`` show them.
    """
    if not sys.warnoptions:
        for message in HOSTS_WARNINGS:
            warnings.filterwarnings('ignore', message)
