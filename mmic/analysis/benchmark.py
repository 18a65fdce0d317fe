"""Time things against each other in one process.

Absolute times differ from machine to machine and drift on one; ratios of interleaved runs
are steadier. Everything is reported as a ratio to a named baseline.
"""

import resource
import statistics
import time
from typing import NamedTuple, Optional, Tuple

import torch
from rich import get_console
from rich.progress import track
from torch import nn

LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
DTYPES = {name: getattr(torch, name) for name in ('float32', 'float16', 'bfloat16')}
# Calls that are timed together on a GPU: the pauses between them then weigh as little as they do
# in a network.
GPU_CALLS = 5
WARMUP = {'cpu': 2, 'cuda': 5}


class Setting(NamedTuple):
    """What a benchmark runs on.

    Attributes:
        device (str): ``'cpu'`` or ``'cuda'``.
        dtype (str): ``'float32'``, ``'float16'`` or ``'bfloat16'``.
        layout (str): ``'channels_last'`` or ``'contiguous'``.
        repeats (int): Timed rounds.
        image (int): Side of the image that networks get, and from which layers have their sizes.
        shape (tuple[int, int, int, int] | None): Shape (N, C, H, W) of the layers' input. None:
            those of conv2 in ResNet-50's stages.
        groups (int): Groups of the layers.
    """

    device: str = 'cpu'
    dtype: str = 'float32'
    layout: str = 'channels_last'
    repeats: int = 20
    image: int = 512
    shape: Optional[Tuple[int, int, int, int]] = None
    groups: int = 1

    def place(self, item):
        """Bring a module or a tensor onto the device, in the dtype and layout."""
        return item.to(
            device=self.device, dtype=DTYPES[self.dtype], memory_format=LAYOUTS[self.layout]
        )

    def check(self):
        """Raise before any work if nothing can run like this.

        Raises:
            ValueError: There is no CUDA device, no timed round, an image of no whole pixels in the
                last stage, or torch has no such convolution.
        """
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise ValueError(
                f'--device cuda: torch {torch.__version__} sees no CUDA device here; '
                'take --device cpu.'
            )
        if self.repeats < 1:
            raise ValueError(f'--repeats must be 1 or more, got {self.repeats}.')
        if self.image < 32 or self.image % 32:
            raise ValueError(f'--image must be a multiple of 32, got {self.image}.')
        if self.shape and self.shape[1] % self.groups:
            raise ValueError(f'--groups {self.groups} does not divide {self.shape[1]} channels.')
        conv = self.place(nn.Conv2d(16, 16, 3, padding=1))
        try:
            forward_backward(conv, self.place(torch.randn(1, 16, 8, 8)))()
        except RuntimeError as error:
            raise ValueError(
                f'--dtype {self.dtype}: torch {torch.__version__} cannot train a convolution in '
                f'it on {self.device} ({str(error).splitlines()[0]}).'
            ) from None


def interleaved_medians(functions, repeats=20, device='cpu', title=None, warmup=None):
    """Time functions in turn, A B C A B C ..., and return the median seconds of each.

    Args:
        functions (dict[Hashable, Callable[[], Any]]): What to time.
        repeats (int): Timed rounds. Defaults to 20.
        device (str): ``'cuda'`` times by events on the GPU. Defaults to ``'cpu'``.
        title (str, optional): Of the progress bar. Defaults to None: no bar.
        warmup (int, optional): Rounds before them that are not timed. Defaults to None: as many
            as the device needs.

    Returns:
        dict[Hashable, float]: Seconds of a call by name.
    """
    times = {name: [] for name in functions}
    timed = gpu_seconds if device == 'cuda' else seconds
    warmup = WARMUP[device] if warmup is None else warmup
    for number in with_bar(range(warmup + repeats), title):
        for name, function in functions.items():
            taken = timed(function)
            if number >= warmup:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def with_bar(items, title=None):
    """Walk over items with a progress bar, on a terminal; without a title there is none."""
    disable = title is None or not get_console().is_terminal
    # It is drawn between the items, never while one is timed.
    return track(items, title or '', transient=True, auto_refresh=False, disable=disable)


def seconds(function):
    """Seconds of one call on the CPU."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def gpu_seconds(function):
    """Seconds of one call on the GPU, the mean over ``GPU_CALLS`` in a row."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(GPU_CALLS):
        function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / GPU_CALLS


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
    # As the next layer would give it, in the layout of the output.
    gradient = torch.ones_like(module(x).detach())

    def run():
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x).backward(gradient)

    return run


def forward(module, x):
    """Return a function that runs a module's forward pass once, without gradients."""

    def run():
        with torch.no_grad():
            module(x)

    return run
