"""Time things against each other in one process.

Absolute times differ from machine to machine and drift on one; ratios of interleaved runs
are steadier. Everything is reported as a ratio to a named baseline.
"""

import resource
import statistics
import time

import torch


def interleaved_medians(functions, repeats=20, warmup=2):
    """Time functions in turn, A B C A B C ..., and return the median seconds of each.

    Args:
        functions (dict[str, Callable[[], Any]]): What to time.
        repeats (int): Timed rounds. Defaults to 20.
        warmup (int): Rounds before them that are not timed. Defaults to 2.

    Returns:
        dict[str, float]: Seconds by name.
    """
    times = {name: [] for name in functions}
    for number in range(warmup + repeats):
        for name, function in functions.items():
            synchronize()
            start = time.perf_counter()
            function()
            synchronize()
            if number >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def synchronize():
    """Wait for the GPU, if there is one: its kernels run behind Python's back."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def extra_memory(function):
    """Bytes by which a call raises the peak memory of this process.

    The peak is the operating system's and only grows: what the process used before hides
    smaller calls, so call it before anything large is freed.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def saved_bytes(model, x):
    """Bytes that autograd keeps for the backward pass of a model, each storage once.

    Parameters are not counted: they are there anyway.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            # The tensor is held on to, so that no other takes its address.
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return sum(size for size, _ in kept.values())


def forward_backward(module, x):
    """Return a function that runs a module's forward and backward pass once."""
    x = x.clone().requires_grad_()

    def run():
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x).sum().backward()

    return run


def forward(module, x):
    """Return a function that runs a module's forward pass once, without gradients."""

    def run():
        with torch.no_grad():
            module(x)

    return run
