"""Where code of ours may stand in for operators of torch: torch runs at once, on real memory."""

import torch

from mmic.compat import is_compiling

# Those of other classes, fake ones for example, only look like tensors.
PLAIN_CLASSES = (torch.Tensor, torch.nn.Parameter)


def is_traced():
    """Whether torch records the program, for a compiler, a file or a counter of operators."""
    return torch.jit.is_tracing() or is_compiling()


def has_memory(tensor):
    """Whether a tensor has memory of its own, which fake, meta and empty ones have not."""
    return type(tensor) in PLAIN_CLASSES and not tensor.is_meta and tensor.numel() > 0
