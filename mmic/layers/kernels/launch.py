"""Prepares tensors for the kernels, chooses the sizes of their tiles, and launches them."""

import torch

from mmic.layers.kernels.tables import read_table
from mmic.layers.kernels.triton_conv import conv_kernel, weight_kernel

# As many programs as keep a large GPU busy. Not measured.
PROGRAMS = 512


def convolve(source, weight, bias, result, table, layout, stride, padding, transposed=False):
    """Write the convolution of ``source``, or its transpose, into ``result``.

    Args:
        source (Tensor): Shape (N, C_in, H, W); if transposed (N, C_out, H', W').
        weight (Tensor): Shape (C_out, C_in / groups, k, k).
        bias (Tensor | None): Of the result's channels.
        result (Tensor): Shape (N, C_out, H', W'); if transposed (N, C_in, H, W).
        table (Tensor): From ``build_table``.
        layout (Layout): Of the table.
        stride (list[int]): Of the convolution, on both axes.
        padding (list[int]): Of the undilated convolution.
        transposed (bool): Defaults to False.

    Returns:
        Tensor: ``result``.
    """
    if result.numel() == 0 or source.numel() == 0:
        return result.zero_() if bias is None else result.copy_(bias[:, None, None])
    depth, side = weight.shape[1:3]
    out, into, _ = read_table(table, layout, len(weight))
    weight = weight.permute(0, 2, 3, 1)
    if out.sort:
        weight = weight.index_select(0, out.channels)
    if into.sort:
        # The order of the first group's input channels is that of each group's.
        weight = weight.index_select(3, into.channels[:depth])
    if transposed:
        out, into = into, out
    source = _in_order(source, into)
    single = source.dtype == torch.float32
    pixels = result.numel() // result.shape[1]
    block_m = 64 if single or -(-pixels // 128) * out.blocks < PROGRAMS // 2 else 128
    written = result
    if not result.is_contiguous(memory_format=torch.channels_last):
        written = torch.empty_like(result, memory_format=torch.channels_last)
    with torch.cuda.device_of(source):
        conv_kernel[(-(-pixels // block_m) * out.blocks,)](
            source,
            weight.contiguous(),
            bias,
            written,
            out.rows,
            out.channels,
            pixels,
            *source.shape[2:],
            *result.shape[2:],
            *_pixel_strides(source),
            source.shape[1],
            result.shape[1],
            depth,
            *_centre(side, padding),
            out.blocks,
            SIZE=side,
            STRIDE_H=stride[0],
            STRIDE_W=stride[1],
            SEGMENTS=out.segments,
            TRANSPOSED=transposed,
            FULL_N=out.full,
            FULL_K=into.full,
            BIAS=bias is not None,
            SORTED=out.sort,
            PRECISION=_precision(),
            BLOCK_M=block_m,
            BLOCK_N=out.block,
            BLOCK_K=min(into.block, 32) if single else into.block,
            num_warps=4,
            num_stages=2 if single else 3,
        )
    return result if written is result else result.copy_(written)


def weight_gradient(grad, x, size, table, layout, stride, padding):
    """Gradient of the weight, from that of the output.

    Pixels are shared out among programs that each store a sum in float32; torch adds these up in
    a fixed order, so that the result is the same on every run.

    Args:
        grad (Tensor): Shape (N, C_out, H', W').
        x (Tensor): Shape (N, C_in, H, W).
        size (Sequence[int]): The weight's (C_out, C_in / groups, k, k).
        table, layout, stride, padding: As of ``convolve``.

    Returns:
        Tensor: Of shape ``size``, channels_last.
    """
    out_channels, depth, side, _ = size
    if grad.numel() == 0 or x.numel() == 0:
        return grad.new_zeros(out_channels, side, side, depth).permute(0, 3, 1, 2)
    out, into, pairs = read_table(table, layout, out_channels)
    grad, x = _in_order(grad, out), _in_order(x, into)
    single = x.dtype == torch.float32
    block_m = 32 if single else 64
    pixels, programs = grad.numel() // out_channels, layout.pairs * side * side
    # A split has at least 8 steps, since its sum is stored and read again.
    splits = max(1, min(-(-PROGRAMS // programs), pixels // (8 * block_m)))
    share = -(-pixels // (splits * block_m)) * block_m
    partial = x.new_empty((splits, out_channels, side, side, depth), dtype=torch.float32)
    with torch.cuda.device_of(x):
        weight_kernel[(programs * splits,)](
            grad,
            x,
            partial,
            pairs,
            out.channels,
            into.channels,
            pixels,
            share,
            *x.shape[2:],
            *grad.shape[2:],
            *_pixel_strides(x),
            *_pixel_strides(grad),
            out_channels,
            x.shape[1],
            depth,
            *_centre(side, padding),
            layout.pairs,
            SIZE=side,
            STRIDE_H=stride[0],
            STRIDE_W=stride[1],
            SORTED_N=out.sort,
            SORTED_K=into.sort,
            PRECISION=_precision(),
            BLOCK_M=block_m,
            BLOCK_N=out.block,
            BLOCK_K=into.block,
            num_warps=4,
            num_stages=2 if single else 3,
        )
    return partial.sum(0).to(grad.dtype).permute(0, 3, 1, 2)


def _in_order(x, side):
    """``x`` with its channels in the table's order, and side by side in memory.

    They are copied once here: a kernel that gathered single channels would do so for each tap, and
    2 bytes at a time.
    """
    if side.sort:
        return x.permute(0, 2, 3, 1).index_select(3, side.channels).permute(0, 3, 1, 2)
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def _pixel_strides(x):
    return x.stride(0), x.stride(2), x.stride(3)


def _centre(side, padding):
    """Where the centre tap lies for the first output pixel, whatever the dilation."""
    return [side // 2 - pad for pad in padding]


def _precision():
    """Of products of float32: that of torch's own convolutions."""
    conv = getattr(torch.backends.cudnn, 'conv', None)  # from torch 2.9 on
    single = conv.fp32_precision == 'tf32' if conv else torch.backends.cudnn.allow_tf32
    return 'tf32' if single else 'ieee'
