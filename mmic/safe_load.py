"""Read what torch.save wrote without running code that the file may carry.

Unpickling calls what a file names. Here a name is looked up in a short list: what torch needs to
rebuild tensors is real, everything else is a stand-in that does nothing. ``pickle_module`` of
``torch.load`` takes such an unpickler in every release of torch; ``weights_only=True`` cannot
skip mmengine's log history before torch 2.5, and later only by a global list.
"""

import importlib
import pickle
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

import torch

# What torch's own `weights_only` unpickler takes for state dicts, without the storage classes:
# torch.load resolves those itself.
REBUILT = {
    'collections': ('OrderedDict',),
    'torch': ('Size', 'Tensor', 'device', 'per_tensor_affine', 'per_channel_affine'),
    'torch._tensor': ('_rebuild_from_type_v2',),
    'torch._utils': (
        '_rebuild_tensor',
        '_rebuild_tensor_v2',
        '_rebuild_tensor_v3',
        '_rebuild_parameter',
        '_rebuild_parameter_with_state',
        '_rebuild_qtensor',
        '_rebuild_sparse_tensor',
        '_rebuild_meta_tensor_no_storage',
    ),
    'torch.nn.parameter': ('Parameter', 'Buffer'),
    'torch.serialization': ('_get_layout',),
    '_codecs': ('encode',),
    'builtins': ('bytearray', 'set', 'complex'),
}

# What trainers keep beside the weights and nothing here reads: mmengine's log history, arguments
# of a command, paths, numbers of numpy. Other names are told to the user and refused.
SKIPPED = {
    'argparse': ('Namespace',),
    'builtins': ('getattr', 'list', 'dict', 'tuple', 'int', 'float', 'slice', 'range'),
    'collections': ('Counter', 'defaultdict', 'deque'),
    'datetime': ('date', 'datetime', 'timedelta'),
    'lightning.fabric.utilities.data': ('AttributeDict',),
    'lightning_fabric.utilities.data': ('AttributeDict',),
    'mmengine.config.config': ('ConfigDict',),
    'mmengine.logging.history_buffer': ('HistoryBuffer',),
    'numpy': ('dtype', 'ndarray'),
    'numpy._core.multiarray': ('_reconstruct', 'scalar'),
    'numpy.core.multiarray': ('_reconstruct', 'scalar'),
    'pathlib': ('Path', 'PosixPath', 'PurePosixPath', 'PureWindowsPath', 'WindowsPath'),
    'pathlib._local': ('Path', 'PosixPath', 'PurePosixPath', 'PureWindowsPath', 'WindowsPath'),
    'pytorch_lightning.utilities.parsing': ('AttributeDict',),
}


class StandIn:
    """Takes the place of an object that is not read; whatever unpickling asks of it, it ignores.

    Attributes:
        is_model (bool): Whether the object was an ``nn.Module``.
    """

    is_model = False

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> 'StandIn':
        return StandIn()

    def __setstate__(self, state: Any) -> None:
        self.is_model = isinstance(state, dict) and '_modules' in state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Ignore an entry of a list."""

    def extend(self, values: Any) -> None:
        """Ignore entries of a list."""


class UnsafeFileError(ValueError):
    """A file holds objects whose classes are on no list.

    Attributes:
        names (list[str]): Full names of what was not read, in the file's order.
        content: What the file holds, with stand-ins, or None where reading failed.
    """

    def __init__(self, names: List[str], content: Any):
        super().__init__(f'holds {names[0]}')
        self.names = names
        self.content = content


def load_safely(
    path: Union[str, Path], allowed: Optional[Mapping[Tuple[str, str], Any]] = None
) -> Any:
    """Read a file of torch.save to the CPU; nothing that it names is called, but for tensors.

    Args:
        path (str | Path): A zip file, or torch's format before 1.6.
        allowed (Mapping, optional): More objects by ``(module, name)`` in the file, which are
            given to it and may be called by it. Defaults to None.

    Returns:
        What was saved. Objects of ``SKIPPED`` kinds are stand-ins.

    Raises:
        UnsafeFileError: The file names other objects than tensors and ``SKIPPED``.
        Exception: Whatever unpickling raises for a file that is broken.
    """
    unknown = []
    module = _PickleModule(dict(allowed or {}), unknown)
    try:
        content = torch.load(path, map_location='cpu', pickle_module=module, weights_only=False)
    except Exception:
        if unknown:
            raise UnsafeFileError(unknown, None) from None
        raise
    if unknown:
        raise UnsafeFileError(unknown, content)
    return content


class _PickleModule:
    """What ``torch.load`` uses of a pickle module."""

    __name__ = __name__
    UnpicklingError = pickle.UnpicklingError

    def __init__(self, allowed: Dict[Tuple[str, str], Any], unknown: List[str]):
        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                # torch writes pickles of protocol 2, with Python 2's name of the module.
                module = 'builtins' if module == '__builtin__' else module
                if (module, name) in allowed:
                    return allowed[module, name]
                if name in REBUILT.get(module, ()) or _is_dtype(module, name):
                    return _untouchable(getattr(importlib.import_module(module), name))
                if name not in SKIPPED.get(module, ()):
                    unknown.append(f'{module}.{name}')
                return type(name, (StandIn,), {'__module__': module})

        self.Unpickler: Callable[..., pickle.Unpickler] = Unpickler

    def load(self, file: Any, **arguments: Any) -> Any:
        """Read one object, as ``pickle.load`` does; torch's old format is several in a row."""
        return self.Unpickler(file, **arguments).load()


def _untouchable(target: Any) -> Any:
    """Wrap a function anew: a file can set attributes of what it is given."""
    if isinstance(target, type) or not callable(target):
        return target
    return lambda *args: target(*args)


def _is_dtype(module: str, name: str) -> bool:
    return module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)


def check_kind(path: Union[str, Path]) -> None:
    """Refuse what torch.save did not write, by what the file is.

    Raises:
        OSError: The file is missing or cannot be opened.
        ValueError: Another kind of file; the message names it and what to do.
    """
    with open(path, 'rb') as file:
        start = file.read(9)
    if start[8:] == b'{':
        raise ValueError(
            f'{path} is not a checkpoint of torch.save but a safetensors file. Convert it: '
            'torch.save(safetensors.torch.load_file(...), ...).'
        )
    # A zip file, or a pickle as torch wrote it before 1.6.
    if not start.startswith((b'PK', b'\x80')):
        raise ValueError(f'{path} is not a checkpoint: torch.save writes no such file.')
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition('/')[2] for name in archive.namelist()}
    if 'constants.pkl' in names:
        raise ValueError(
            f'{path} is not a checkpoint but a TorchScript archive, a compiled program. Save '
            'model.state_dict() of the model that it was made from.'
        )
    if 'data.pkl' not in names:
        raise ValueError(f'{path} is not a checkpoint: a zip file that torch.save did not write.')
