"""Trained networks made ready for use: the fastest equal network, and its ONNX file."""

from mmic.deploy.network import SupernetError, fuse, refuse_supernet
from mmic.deploy.onnx_file import export_onnx, relative_difference, run_onnx

__all__ = [
    'SupernetError',
    'export_onnx',
    'fuse',
    'refuse_supernet',
    'relative_difference',
    'run_onnx',
]
