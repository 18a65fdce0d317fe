"""Where compiled code may stand in for operators of torch: torch runs at once, on real memory."""

import ctypes
import functools
import importlib
import os
import warnings
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from mmic.compat import is_compiling, is_installed

# numba's switch for debugging leaves functions as they are, hours instead of milliseconds.
DISABLED = os.environ.get('NUMBA_DISABLE_JIT', '0') != '0'
COMPILED = ('direct.winograd', 'direct.strided', 'direct.gradient', 'fold_jit')
# Those of other classes, fake ones for example, only look like tensors.
PLAIN_CLASSES = (torch.Tensor, torch.nn.Parameter)
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
# Read and write: the flag of memory views that CPython calls PyBUF_WRITE.
WRITE = 0x200
_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.argtypes = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
_view.restype = ctypes.py_object
_given_up = []


class NotCompiled(RuntimeError):
    """numba cannot compile a function on this machine; torch's operators compute instead."""


@functools.lru_cache(maxsize=None)
def _imports() -> bool:
    """Import the compiled code once; numba may be installed and broken, by a newer numpy say."""
    if DISABLED or not is_installed('numba'):
        return False
    try:
        for name in COMPILED:
            importlib.import_module(f'mmic.layers.{name}')
    # Whatever the import of a broken package raises.
    except Exception as error:
        give_up(error)
        return False
    return True


def has_compiled_code() -> bool:
    """Whether numba compiles our loops on this machine, as far as is known."""
    return not _given_up and _imports()


def give_up(error: BaseException) -> None:
    """Compute by torch's operators from now on, and say so once."""
    if not _given_up:
        _given_up.append(error)
        first = f'{type(error).__name__}: {error}'.splitlines()[0]
        warnings.warn(
            f'numba cannot be used here ({first}); layers are computed by the operators of torch, '
            'which is slower.'
        )


def is_traced() -> bool:
    """Whether torch records the program, for a compiler, a file or a counter of operators."""
    return torch.jit.is_tracing() or is_compiling()


def is_transformed() -> bool:
    """Whether ``torch.func`` or derivatives in forward mode follow each operator."""
    in_function = torch._C._functorch.peek_interpreter_stack() is not None
    return in_function or forward_ad._current_level >= 0


def is_proxy(x: Any) -> bool:
    """Whether torch.fx records the program; such an input has no shape yet."""
    return isinstance(x, torch.fx.Proxy)


def has_memory(tensor: torch.Tensor) -> bool:
    """Whether a tensor has memory of its own that holds its values as they are.

    Fake, meta and empty ones and those of ``torch.func`` have none; sparse ones and those with a
    sign still to be applied hold other values.
    """
    if type(tensor) not in PLAIN_CLASSES or tensor.is_meta or not tensor.numel():
        return False
    if tensor.layout != torch.strided or tensor.is_neg():
        return False
    try:
        return tensor.data_ptr() != 0
    # What wraps another tensor, for torch.func or for several gradients at once.
    except RuntimeError:
        return False


def may_compute(*tensors: torch.Tensor) -> bool:
    """Whether compiled code may compute with tensors, on a CPU, in place of operators of torch.

    Not under compilers, counters, ``torch.func`` and derivatives in forward mode, which look at
    the operators.
    """
    if is_traced() or is_transformed() or torch._C._len_torch_dispatch_stack():
        return False
    return all(has_memory(tensor) and tensor.device.type == 'cpu' for tensor in tensors)


def memory_of(tensor: torch.Tensor) -> np.ndarray:
    """See a tensor's memory as an array, of its shape and strides.

    ``Tensor.numpy()`` would mark the storage as not resizable for good, which breaks FSDP and
    ``out=``. The array does not keep the memory alive: the caller holds the tensor.

    Args:
        tensor: On the CPU, one that ``has_memory``, in float32 or float64.
    """
    dtype = np.dtype(DTYPES[tensor.dtype])
    strides = [stride * dtype.itemsize for stride in tensor.stride()]
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, strides))
    memory = _view(tensor.data_ptr(), last + dtype.itemsize, WRITE)
    return np.ndarray(tuple(tensor.shape), dtype, memory, strides=strides)
