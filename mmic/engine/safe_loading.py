"""Let mmengine read checkpoints without running code that they carry.

mmengine allows ``getattr`` and its own log history, with which a file reaches anything, and where
that does not do it unpickles whatever the file holds. What a training goes on from, log history,
numbers and arrays of numpy, milestones, is read into objects that only keep it, and is made of
them when the file is closed.
"""

import functools
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Optional, Tuple
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmic.checkpoint import read_checkpoint, state_dict_of
from mmic.files import BadFileError

HUB_URL = mmengine_checkpoint.load_url
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


def with_state_dict(content: Any, path: str, model: Optional[nn.Module] = None) -> Dict[str, Any]:
    """Put the weights of a checkpoint of any trainer where mmengine looks for them.

    Args:
        content: What a file holds.
        path (str): The file, for messages.
        model (nn.Module, optional): The network of the weights. Defaults to None: see
            ``state_dict_of``.

    Raises:
        BadFileError: It holds no state dict.
    """
    try:
        state = state_dict_of(content, path, model)
    except ValueError as error:
        raise BadFileError(str(error)) from None
    if isinstance(content, dict):
        read = content.get('state_dict', content)
        # What else lies among the weights, and the versions of their layers, is mmengine's.
        if isinstance(read, dict) and state.keys() <= read.keys():
            return content
        return {**content, 'state_dict': state}
    return {'state_dict': state}


class CheckpointFitHook(Hook):
    """Refuses a checkpoint of which no weight is the network's; mmengine would load none of it."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take prefixes away that only the network's names tell of, then look what fits."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path = str(runner._load_from)
        names = model.state_dict().keys()
        read = checkpoint.get('state_dict', checkpoint)
        if names and not names & {re.sub(r'^module\.', '', name) for name in read}:
            found = with_state_dict(checkpoint, path, model)
            if not names & found.get('state_dict', found).keys():
                first = f'{next(iter(read))} where the network has {next(iter(names))}'
                raise BadFileError(
                    f'{path}: none of its weights is of this network: it has {first}. Is it of '
                    'this config?'
                )
            checkpoint.update(found)


def read_safely(trust: bool = False) -> None:
    """Make mmengine read checkpoints safely in this process: to load, to resume, to start from.

    Those that it downloads are read alike. They are read to the CPU, from where mmengine copies.

    Args:
        trust (bool): Let mmengine unpickle whatever files hold. Defaults to False.
    """

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        path = os.path.expanduser(filename)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'There is no checkpoint {path}.')
        return with_state_dict(load_to_resume(path, trust), path)

    def load_url(
        url: str, model_dir: Optional[str] = None, map_location: Any = None, progress: bool = True
    ) -> Any:
        folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
        path = folder / Path(urlparse(url).path).name
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
        return load_from_local(str(path))

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    mmengine_checkpoint.load_url = HUB_URL if trust else load_url
