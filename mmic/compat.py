"""Everything that differs between the two dependency stacks."""

import importlib.util
import inspect
import warnings

import torch
from torch.nn import functional as F


def is_installed(name: str) -> bool:
    """Whether a package is found; where an import hook refuses it, it is not."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


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


def is_channels_last(tensor):
    """Whether a tensor is laid out like that, and not also contiguous."""
    if isinstance(tensor, torch.fx.Proxy):
        return False
    try:
        last = tensor.is_contiguous(memory_format=torch.channels_last)
    # torch.func cannot tell within vmap.
    except RuntimeError:
        return False
    return last and not tensor.is_contiguous()


def channel_shuffle(x, groups):
    """``torch.nn.functional.channel_shuffle`` with a gradient; channels_last stays."""
    # ONNX has no such operator, nor have meta tensors in torch 2.1.
    proxy = isinstance(x, torch.fx.Proxy)
    missing = proxy or torch.jit.is_tracing() or x.is_meta
    if not missing and (_SHUFFLE_HAS_GRADIENT or not torch.is_grad_enabled()):
        return F.channel_shuffle(x, groups)
    y = x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y


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
