"""What a training goes on from, read from a checkpoint without running code that it carries.

Log history, numbers and arrays of numpy, milestones: they are read into objects that only keep
what the file gives them; the real ones are made of these when the file is closed.
"""

import functools
from collections import Counter
from typing import Any, Dict, Optional, Tuple

import numpy as np
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmic.checkpoint import read_checkpoint
from mmic.files import BadFileError

NUMBERS_AND_TEXT = 'biufcSU'


class Dtype:
    """Stands for a ``numpy.dtype`` of a file: numbers, booleans and text alone."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False):
        self.order = '='
        self.code = str(code)

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def value(self) -> np.dtype:
        """The type of numpy.

        Raises:
            BadFileError: Of any other kind, as of objects.
        """
        found = np.dtype(self.code).newbyteorder(self.order.replace('|', '='))
        if found.kind not in NUMBERS_AND_TEXT:
            raise BadFileError(f'an array of the type {self.code}, which is not read')
        return found


class Array:
    """Stands for a ``numpy.ndarray`` of a file until everything is read."""

    def __init__(self, *args: Any):
        self.state = (1, (0,), Dtype('f8'), False, b'')

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self) -> np.ndarray:
        """The array."""
        _, shape, dtype, by_columns, content = self.state
        flat = np.frombuffer(content, dtype.value())
        return flat.reshape(shape, order='F' if by_columns else 'C').copy()


class Scalar:
    """Stands for a number of numpy's in a file."""

    def __init__(self, dtype: Dtype, content: bytes):
        self.dtype, self.content = dtype, content

    def value(self) -> np.generic:
        """The number."""
        return np.frombuffer(self.content, self.dtype.value())[0]


class History:
    """Stands for a ``HistoryBuffer`` of a file: its numbers, without its methods."""

    def __init__(self, *args: Any):
        self.state: Dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state)

    def value(self) -> HistoryBuffer:
        """The log history."""
        logs, counts = (self.state[name].value() for name in ('_log_history', '_count_history'))
        return HistoryBuffer(logs, counts, int(self.state.get('max_length', 1000000)))


class Settings(dict):
    """Stands for a ``ConfigDict`` of a file."""

    def __setstate__(self, state: Any) -> None:
        pass

    def value(self) -> dict:
        """The settings."""
        return ConfigDict(self)


class Counts(Settings):
    """Stands for a ``Counter``, in which mmengine's schedulers keep milestones."""

    def value(self) -> Counter:
        """The numbers."""
        return Counter(self)


KEPT = (Array, Scalar, History, Settings)


def stand_ins() -> Dict[Tuple[str, str], Any]:
    """What a file gets for the names in it: new classes each time, since it may change them."""
    kept = {
        ('builtins', 'bytes'): functools.partial(_no_bytes),
        ('collections', 'Counter'): type('Counts', (Counts,), {}),
        ('mmengine.config.config', 'ConfigDict'): type('Settings', (Settings,), {}),
        ('mmengine.logging.history_buffer', 'HistoryBuffer'): type('History', (History,), {}),
        ('numpy', 'dtype'): type('Dtype', (Dtype,), {}),
        ('numpy', 'ndarray'): type('Array', (Array,), {}),
    }
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        kept[module, '_reconstruct'] = functools.partial(_new_array)
        kept[module, 'scalar'] = type('Scalar', (Scalar,), {})
    return kept


def _no_bytes() -> bytes:
    """How pickles of protocol 2 write the content of an empty array."""
    return b''


def _new_array(*args: Any) -> Array:
    return Array()


def resolved(content: Any, known: Optional[Dict[int, Any]] = None) -> Any:
    """Put the real objects in place of those that stand for them; dicts and lists are changed."""
    known = {} if known is None else known
    if id(content) in known:
        return known[id(content)][1]
    # The object is kept beside its result: another would get its id.
    known[id(content)] = content, content
    found = content
    if type(content) is tuple:
        found = tuple(resolved(item, known) for item in content)
    elif isinstance(content, (dict, list)):
        for key in content if isinstance(content, dict) else range(len(content)):
            content[key] = resolved(content[key], known)
    if isinstance(content, KEPT):
        found = content.value()
    known[id(content)] = content, found
    return found


def load_to_resume(path: str, trust: bool = False) -> Any:
    """Read a checkpoint with what a training goes on from.

    Args:
        path (str): The file.
        trust (bool): Unpickle whatever it holds. Defaults to False.

    Raises:
        OSError: The file is missing or cannot be opened.
        BadFileError: Not a checkpoint, or it holds objects that are not read safely.
    """
    try:
        content = read_checkpoint(path, trust, None if trust else stand_ins())
        return content if trust else resolved(content)
    except BadFileError as error:
        raise BadFileError(f'{path} holds {error}; if you trust it: --trust-checkpoint.') from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadFileError(str(error)) from None
