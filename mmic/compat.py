"""Everything that differs between the two dependency stacks."""

import inspect
import pickle
import re
import warnings

import torch
from mmengine.logging import print_log
from torch.nn import functional as F

# What a checkpoint of mmengine's holds beside tensors: its log history. mmengine allows these
# names themselves, `getattr` among them, with which a file can reach and run anything.
LOG_HISTORY = [
    'builtins.getattr',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    'numpy._core.multiarray._reconstruct',
    'numpy._core.multiarray.scalar',
    'numpy.core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
]


class Skipped:
    """Stands for an object of the log history, which nothing here reads; it does nothing."""

    __slots__ = ()

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        pass


def is_compiling():
    """Whether torch.compile or torch.export reads the program instead of running it."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()  # torch before 2.3


# Some releases of torch, 2.1 among them, have no gradient of it.
_SHUFFLE_HAS_GRADIENT = (
    type(F.channel_shuffle(torch.zeros(1, 2, 1, 1, requires_grad=True), 2).grad_fn).__name__
    != 'NotImplemented'
)


def is_autocast_on_cpu():
    """Whether autocast is on for CPUs; torch before 2.4 asks for it by another name."""
    if hasattr(torch, 'get_autocast_dtype'):
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()


def channel_shuffle(x, groups):
    """``torch.nn.functional.channel_shuffle`` with a gradient; channels_last stays."""
    # ONNX has no such operator, nor have meta tensors in torch 2.1.
    missing = torch.jit.is_tracing() or x.is_meta
    if not missing and (_SHUFFLE_HAS_GRADIENT or not torch.is_grad_enabled()):
        return F.channel_shuffle(x, groups)
    y = x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last) if last else y


def stand_in(path):
    """A class that torch takes for the one of this name in a file."""
    module, _, name = path.rpartition('.')
    return type(name, (Skipped,), {'__module__': module, '__slots__': ()})


def read_checkpoint(path, trust=False):
    """Read a checkpoint without running code that it may carry.

    torch from 2.5 on reads tensors and an allow-list of harmless types; mmengine's log history
    is skipped. Older torch cannot be told to, so a checkpoint of mmengine's is unpickled in
    full there, with a warning.

    Args:
        path (str | Path): A ``.pth`` file.
        trust (bool): Unpickle whatever the file holds. Defaults to False.

    Returns:
        dict: The checkpoint, on the CPU.

    Raises:
        OSError: The file is missing or cannot be opened.
        ValueError: Not a checkpoint, or it holds objects outside the allow-list.
    """
    with open(path, 'rb') as file:
        # A zip file, or a pickle as torch wrote it before 1.6.
        if not file.read(2).startswith((b'PK', b'\x80')):
            raise ValueError(f'{path} is not a checkpoint: torch.save writes no such file.')
    try:
        return _load(path, trust)
    # Whatever an unpickler may meet in a broken file, or in one whose classes are not here.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and not trust:
            named = re.search(r'GLOBAL (\S+)', str(error))
            raise ValueError(
                f'{path} cannot be read safely: it holds {named[1] if named else "objects"}, not '
                'tensors alone. If you trust its source, pass --trust-checkpoint.'
            ) from None
        first = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise ValueError(
            f'{path} cannot be read as a checkpoint; is it cut short? {first}'
        ) from None


def _load(path, trust):
    safe_globals = getattr(torch.serialization, 'safe_globals', None)
    if trust:
        return torch.load(path, map_location='cpu', weights_only=False)
    if safe_globals is not None:
        with safe_globals([stand_in(name) for name in LOG_HISTORY]):
            return torch.load(path, map_location='cpu', weights_only=True)
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:
        print_log(
            f'{path} holds more than tensors, and torch {torch.__version__} cannot read it '
            'without running what it holds. Only open files whose source you trust.',
            logger='current',
            level=30,
        )
        return torch.load(path, map_location='cpu', weights_only=False)


def onnx_export(model, image, path, input_names, output_names):
    """Export by tracing, the exporter that both stacks have.

    Args:
        model (nn.Module): In eval mode.
        image (Tensor): An input.
        path (str): The file to write.
        input_names (list[str]): Of the file.
        output_names (list[str]): Of the file.
    """
    # From torch 2.9 on another exporter is the default; it needs onnxscript.
    by_tracing = {}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        by_tracing['dynamo'] = False
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', category=DeprecationWarning)
        warnings.filterwarnings('ignore', category=torch.jit.TracerWarning)
        torch.onnx.export(
            model,
            (image,),
            path,
            input_names=input_names,
            output_names=output_names,
            opset_version=17,
            **by_tracing,
        )
