"""Where code of ours may stand in for operators of torch: torch runs at once, on real memory."""

import os

import torch
from torch.autograd import forward_ad

from mmic.compat import is_compiling, is_installed

# numba's switch for debugging leaves functions as they are, hours instead of milliseconds.
DISABLED = os.environ.get('NUMBA_DISABLE_JIT', '0') != '0'
HAS_NUMBA = is_installed('numba') and not DISABLED
# Those of other classes, fake ones for example, only look like tensors.
PLAIN_CLASSES = (torch.Tensor, torch.nn.Parameter)


def is_traced():
    """Whether torch records the program, for a compiler, a file or a counter of operators."""
    return torch.jit.is_tracing() or is_compiling()


def has_memory(tensor):
    """Whether a tensor has memory of its own, which fake, meta, batched and empty ones have not."""
    if type(tensor) not in PLAIN_CLASSES or tensor.is_meta or not tensor.numel():
        return False
    # Several gradients that autograd computes at once; torch gives this key no name in Python.
    return 'Batched' not in repr(torch._C._dispatch_keys(tensor))


def may_compute(*tensors):
    """Whether compiled code may compute with tensors, on a CPU, in place of operators of torch.

    Not where these are looked at, or have to be: by compilers, counters, ``torch.func`` and
    derivatives in forward mode.
    """
    if is_traced() or torch._C._len_torch_dispatch_stack():
        return False
    if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return False
    return all(has_memory(tensor) and tensor.device.type == 'cpu' for tensor in tensors)
