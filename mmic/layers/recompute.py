"""Let the backward pass make again what was copied for an operator, instead of keeping it."""

import contextlib
from typing import Callable, NamedTuple

import torch

from mmic.layers.eager import has_memory, is_traced


class Recipe(NamedTuple):
    """How a copy is made from a tensor that is kept anyway, and which version of that it was."""

    make: Callable
    source: torch.Tensor
    version: int


def recomputed(*copies):
    """Context manager around operators that autograd saves copies for.

    Args:
        *copies (tuple[Tensor, Callable, Tensor]): A copy, the function that makes it, and its
            source, which is kept and must not be changed before the backward pass.
    """
    if is_traced() or not torch.is_grad_enabled():
        return contextlib.nullcontext()
    recipes = {
        _identity(copy): Recipe(make, source.detach(), source._version)
        for copy, make, source in copies
        if has_memory(copy) and has_memory(source)
    }

    # torch.func knows no such hooks; its tensors have no memory of their own.
    if not recipes:
        return contextlib.nullcontext()

    def pack(tensor):
        return recipes.get(_identity(tensor), tensor) if has_memory(tensor) else tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, _unpack)


def _unpack(packed):
    if isinstance(packed, torch.Tensor):
        return packed
    if packed.source._version != packed.version:
        raise RuntimeError(
            'the input or the weight of a convolution was modified in place between its forward '
            'and its backward pass, which needs it.'
        )
    with torch.no_grad():
        return packed.make(packed.source)


def _identity(tensor):
    return tensor.data_ptr(), tensor.shape, tensor.stride()
