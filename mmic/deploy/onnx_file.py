"""ONNX files, and whether they compute what the network computes."""

import importlib

import numpy as np
import torch

from mmic.compat import onnx_export
from mmic.deploy.network import refuse_supernet


def flatten(outputs):
    """The tensors of nested tuples, lists and dicts, in order."""
    if isinstance(outputs, (torch.Tensor, np.ndarray)):
        return [torch.as_tensor(outputs)]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if not isinstance(outputs, (list, tuple)):
        return []
    return [tensor for output in outputs for tensor in flatten(output)]


def relative_difference(expected, actual):
    """Largest difference of two networks' outputs, relative to the largest value of its tensor.

    Args:
        expected (Tensor | Sequence | dict): Outputs, nested as they come.
        actual (Tensor | Sequence | dict): Outputs of the same tensors in the same order.

    Returns:
        float: ``max |expected - actual| / max |expected|``, the largest over the tensors;
        infinite where a value is not finite.

    Raises:
        ValueError: There is nothing to compare, or the shapes differ.
    """
    first, second = flatten(expected), flatten(actual)
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (first, second)]
    if shapes[0] != shapes[1] or not first:
        raise ValueError(f'Outputs of shapes {shapes[0]} and {shapes[1]} cannot be compared.')
    worst = 0.0
    for mine, theirs in zip(first, second):
        if not mine.numel():
            continue
        mine, theirs = mine.detach().cpu().double(), theirs.detach().cpu().double()
        scale = mine.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        difference = ((mine - theirs).abs().max() / scale).item()
        if not np.isfinite(difference):
            return float('inf')
        worst = max(worst, difference)
    return worst


def export_onnx(model, image, path):
    """Write a network as an ONNX file.

    Args:
        model (nn.Module): Takes one tensor; best the result of ``fuse``.
        image (Tensor): An input. The file takes inputs of its shape.
        path (str | Path): The file to write. Its input is named ``input``, its outputs
            ``output0`` and so on, in the order in which the network returns them.

    Raises:
        SupernetError: The network is still to be searched; the message names the layer.
        ImportError: onnx is not installed.
    """
    refuse_supernet(model)
    _need('onnx')
    states = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        names = [f'output{number}' for number in range(len(flatten(model(image))))]
        onnx_export(model, image, str(path), ['input'], names)
    for module, training in states.items():
        module.training = training


def run_onnx(path, image):
    """Run an ONNX file with onnxruntime on the CPU.

    Args:
        path (str | Path): The file, with one input.
        image (Tensor): The input.

    Returns:
        list[Tensor]: Its outputs.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    session = _need('onnxruntime').InferenceSession(str(path), providers=['CPUExecutionProvider'])
    outputs = session.run(None, {session.get_inputs()[0].name: image.detach().cpu().numpy()})
    return [torch.from_numpy(output) for output in outputs]


def _need(package):
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ImportError(
            f'{package} is not installed; ONNX files need it: pip install onnx onnxruntime'
        ) from None
