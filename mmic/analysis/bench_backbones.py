"""ResNet-50 with mmic's layers against mmdet's own: inference, and a training step."""

import contextlib
import importlib
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from mmic.analysis.bench_layers import BATCH, MULTIPLE, conv3x3
from mmic.analysis.bench_pattern import made_dilations
from mmic.analysis.bench_table import Measured
from mmic.analysis.benchmark import DTYPES, forward, forward_backward, interleaved_medians, with_bar
from mmic.deploy import fuse
from mmic.layers import DOConv2d, ICConv2d
from mmic.pattern import DilationPattern, LayerPattern

# mmdet's ResNet; every layer trains, its batch normalisation too.
BACKBONE = dict(depth=50, norm_eval=False)
KINDS = ('plain', 'IC', f'IC, multiple {MULTIPLE}', 'PS', 'DO')
# The second step of SGD is like all later ones: the first one makes the momentum.
MEMORY_STEPS = 2


def build_backbone(kind, pattern=None):
    """Build a backbone with random weights.

    Args:
        kind (str): One of ``KINDS``.
        pattern (str | Path, optional): Pattern file for ``'IC'``. Defaults to None:
            ``made_dilations``.

    Returns:
        nn.Module

    Raises:
        ImportError: mmdet is missing.
        PatternError: The pattern is broken or another network's.
    """
    from mmdet.models.backbones import ResNet

    from mmic.models.convs import to_swapped
    from mmic.models.inception import to_searched
    from mmic.models.selection import is_3x3, searched_convs

    backbone = ResNet(**BACKBONE)
    if kind in ('PS', 'DO'):
        return to_swapped(backbone, dict(type=f'{kind}Conv2d'))
    if kind != 'plain':
        if kind != 'IC' or pattern is None:
            multiple = 1 if kind == 'IC' else MULTIPLE
            convs = searched_convs(backbone, is_3x3)
            layers = {
                name: LayerPattern(made_dilations(conv.out_channels, multiple))
                for name, conv in convs.items()
            }
            pattern = DilationPattern(layers, 'edo')
        to_searched(backbone, pattern)
    return backbone


def image(setting):
    return setting.place(torch.randn(BATCH, 3, setting.image, setting.image))


def bench_backbones(setting, pattern=None):
    """Time the forward pass of the backbones as built and as ``fuse`` makes them.

    Args:
        setting (Setting): What to run on; the networks are cast to its dtype.
        pattern (str | Path, optional): See ``build_backbone``. Defaults to None.

    Returns:
        list[Measured]: The fused networks are compared with the fused plain one.
    """
    built = {kind: build_backbone(kind, pattern) for kind in KINDS}
    for backbone in built.values():
        backbone.eval()  # MMDetection's backbones return nothing here
    x, tables = image(setting), []
    for name, change in (('forward', lambda backbone: backbone), ('forward, fused', fuse)):
        title = f'backbones: {name}'
        functions = {
            kind: forward(setting.place(change(model)), x) for kind, model in built.items()
        }
        medians = interleaved_medians(functions, setting.repeats, setting.device, title)
        rows = {kind: [value] for kind, value in medians.items()}
        tables.append(Measured(title, 'plain', 's', ['time'], rows))
    return tables


def training_step(backbone, x, setting):
    """Return a function that runs forward, backward and a step of SGD with momentum once.

    Half precision is autocast's, as it is in training.
    """
    # The learning rate changes nothing but the weights, which shall not diverge.
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4)
    half = None if setting.dtype == 'float32' else DTYPES[setting.dtype]

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(setting.device, half, enabled=half is not None):
            outputs = backbone(x)
        sum(output.float().mean() for output in outputs).backward()
        optimizer.step()

    return run


def make_step(kind, pattern, setting):
    """A training step of one backbone; its weights are float32 always."""
    placed = setting._replace(dtype='float32')
    backbone = placed.place(build_backbone(kind, pattern))
    backbone.train()  # MMDetection's backbones return nothing here
    return training_step(backbone, image(placed), setting)


def bench_training(setting, pattern=None):
    """Time a training step of the backbones and measure its peak memory.

    Args:
        setting (Setting): What to run on.
        pattern (str | Path, optional): See ``build_backbone``. Defaults to None.

    Returns:
        list[Measured]
    """
    title = 'train: forward + backward + SGD'
    memory = {}
    for kind in with_bar(KINDS, 'train: peak memory'):
        memory[kind] = [float(peak_memory(kind, pattern, setting))]
    functions = {kind: make_step(kind, pattern, setting) for kind in KINDS}
    medians = interleaved_medians(functions, setting.repeats, setting.device, title)
    times = {kind: [value] for kind, value in medians.items()}
    return [
        Measured(title, 'plain', 's', ['time'], times),
        Measured('train: peak memory', 'plain', 'bytes', ['memory'], memory),
    ]


def peak_memory(kind, pattern, setting):
    """Peak memory of a training step, weights included, measured in a process of its own.

    Args:
        kind, pattern: See ``build_backbone``.
        setting (Setting): What to run on.

    Returns:
        int: Bytes that torch allocates on a GPU; on the CPU the growth of the process from where
        it stands when all code is loaded and compiled.
    """
    context = multiprocessing.get_context('spawn')
    arguments = kind, pattern, setting, torch.get_num_threads()
    with exact_memory(), ProcessPoolExecutor(1, context) as process:
        return process.submit(_peak_memory, *arguments).result()


@contextlib.contextmanager
def exact_memory():
    """Let processes that start meanwhile give large memory back when they free it.

    The C library of Linux keeps it otherwise, more or less of it from run to run.
    """
    name = 'MALLOC_MMAP_THRESHOLD_'
    before = os.environ.get(name)
    os.environ[name] = str(2**17)
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _peak_memory(kind, pattern, setting, threads):
    torch.set_num_threads(threads)
    importlib.import_module('mmic.models')  # and mmdet, which are not counted
    run_small_layers(setting)  # nor is what they import and compile when they first run
    before = resident('VmRSS')
    step = make_step(kind, pattern, setting)
    for _ in range(MEMORY_STEPS):
        step()
    if setting.device == 'cuda':
        return torch.cuda.max_memory_allocated()
    return resident('VmHWM') - before


def run_small_layers(setting):
    """Run a training step of a small layer of each kind."""
    plain = conv3x3(MULTIPLE)
    dilations = [(1, 1)] * 8 + [(2, 1)] * 8
    x = setting.place(torch.randn(1, MULTIPLE, 32, 32))
    for layer in (ICConv2d.from_conv(plain, dilations), DOConv2d.from_conv(plain)):
        forward_backward(setting.place(layer), x)()


def resident(which):
    """Resident memory of this process in bytes, ``'VmRSS'`` now or ``'VmHWM'`` at its peak.

    From Linux itself: ``ru_maxrss`` of a new process starts at its parent's.
    """
    status = Path('/proc/self/status').read_text()
    return 1024 * int(re.search(rf'{which}:\s+(\d+) kB', status)[1])
