"""Triton kernels of a convolution with a dilation for each block of channels.

An image is a matrix with a row for each pixel and a column for each channel (channels_last). A
program computes one tile: for each tap it reads the pixels where the tap lies under the block's
dilation, and multiplies them with the tap's weights. No tensor of shifted pixels is made.

``tables.py`` says what the tables hold. Channels stand in the tables' order in all that is read,
and in the layer's own order in all that is written.
"""

import triton
import triton.language as tl


@triton.jit
def conv_kernel(
    source,  # (N, H, W, sources), of any strides but 1 for channels
    weight,  # (C_out, SIZE, SIZE, depth), contiguous
    bias,  # (results,)
    result,  # (N, H', W', results), contiguous
    table,  # a row for each block of result channels
    order,  # the layer's channel at each place of a result channel
    pixels,  # N * H' * W'
    height,
    width,
    result_height,
    result_width,
    image_stride,
    row_stride,
    column_stride,
    sources,
    results,
    depth,
    shift_h,  # where the centre tap lies for the first output pixel
    shift_w,
    blocks,
    SIZE: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    SEGMENTS: tl.constexpr,
    TRANSPOSED: tl.constexpr,  # from output to input channels: the gradient of the input
    FULL_N: tl.constexpr,
    FULL_K: tl.constexpr,
    BIAS: tl.constexpr,
    SORTED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The convolution, or its transpose: one tile of pixels by result channels."""
    TAPS: tl.constexpr = SIZE * SIZE
    # Blocks of one tile run side by side and share its pixels in the cache.
    entry = table + tl.program_id(0) % blocks * (4 + 4 * SEGMENTS)
    first, end = tl.load(entry), tl.load(entry + 1)
    # As a product with depth the compiler sees what it is a multiple of.
    start, segments = tl.load(entry + 2) * depth, tl.load(entry + 3)
    n = first // BLOCK_N * BLOCK_N + tl.arange(0, BLOCK_N)
    # Masks of equal values over 16 bytes let the compiler read 16 bytes at once.
    n_chosen = tl.full((BLOCK_N,), 1, tl.int1) if FULL_N else (n >= first) & (n < end)

    m = tl.program_id(0) // blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    column = m % result_width
    row = m // result_width % result_height
    image = source + (m // (result_width * result_height)).to(tl.int64) * image_stride
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for segment in range(segments):
        part = entry + 4 + 4 * segment
        d_h, d_w = tl.load(part), tl.load(part + 1)
        k_first, k_end = tl.load(part + 2), tl.load(part + 3)
        k_start = k_first // BLOCK_K * BLOCK_K
        for step in range(tl.cdiv(k_end - k_start, BLOCK_K) * TAPS):
            # All taps of a few channels, then the next: neighbouring taps share pixels.
            tap = step % TAPS
            k = k_start + step // TAPS * BLOCK_K + tl.arange(0, BLOCK_K)
            reach_h = (tap // SIZE - SIZE // 2) * d_h + shift_h
            reach_w = (tap % SIZE - SIZE // 2) * d_w + shift_w
            if TRANSPOSED:
                h, w = row - reach_h, column - reach_w
                inside = (h >= 0) & (w >= 0) & (h % STRIDE_H == 0) & (w % STRIDE_W == 0)
                h, w = h // STRIDE_H, w // STRIDE_W
                places = k[:, None] * (TAPS * depth) + (n - start)[None, :]
            else:
                h, w = row * STRIDE_H + reach_h, column * STRIDE_W + reach_w
                inside = (h >= 0) & (w >= 0)
                places = n[None, :] * (TAPS * depth) + (k - start)[:, None]
            inside = inside & (h < height) & (w < width) & (m < pixels)
            if FULL_K:
                k_chosen = tl.full((BLOCK_K,), 1, tl.int1)
                k_there = k_chosen
            else:
                k_chosen = (k >= k_first) & (k < k_end)
                k_there = k < sources
            at = image + (h * row_stride + w * column_stride)
            x = tl.load(at[:, None] + k[None, :], inside[:, None] & k_there[None, :], 0.0)
            if not FULL_K:
                # Others' channels are read along, since 16 bytes at once are; infinities too.
                x = tl.where(k_chosen[None, :], x, 0.0)
            places += tap * depth
            kernel = tl.load(weight + places, k_chosen[:, None] & n_chosen[None, :], 0.0)
            total = tl.dot(x, kernel, total, input_precision=PRECISION)

    channel = tl.load(order + n, n_chosen, 0) if SORTED else n
    if BIAS:
        total += tl.load(bias + channel, n_chosen, 0.0).to(tl.float32)[None, :]
    at = result + m.to(tl.int64)[:, None] * results + channel[None, :]
    chosen = (m < pixels)[:, None] & n_chosen[None, :]
    tl.store(at, total.to(result.dtype.element_ty), chosen)


@triton.jit
def weight_kernel(
    grad,  # (N, H', W', C_out), of any strides but 1 for channels
    source,  # (N, H, W, C_in), likewise
    partial,  # (splits, C_out, SIZE, SIZE, depth), float32, contiguous
    table,  # a row for each pair of blocks
    outputs,  # the layer's channel at each place of an output channel
    inputs,  # likewise of an input channel
    pixels,  # N * H' * W'
    share,  # pixels of a split
    height,
    width,
    grad_height,
    grad_width,
    image_stride,
    row_stride,
    column_stride,
    grad_image_stride,
    grad_row_stride,
    grad_column_stride,
    out_channels,
    in_channels,
    depth,
    shift_h,
    shift_w,
    pairs,
    SIZE: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    SORTED_N: tl.constexpr,
    SORTED_K: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The gradient of the weight: one tap, a pair of blocks, the sum over a share of pixels."""
    TAPS: tl.constexpr = SIZE * SIZE
    tap = tl.program_id(0) % TAPS
    entry = table + tl.program_id(0) // TAPS % pairs * 8
    split = tl.program_id(0) // TAPS // pairs
    first, end = tl.load(entry), tl.load(entry + 1)
    k_first, k_end = tl.load(entry + 2), tl.load(entry + 3)
    start, d_h, d_w = tl.load(entry + 4) * depth, tl.load(entry + 5), tl.load(entry + 6)
    n = first // BLOCK_N * BLOCK_N + tl.arange(0, BLOCK_N)
    k = k_first // BLOCK_K * BLOCK_K + tl.arange(0, BLOCK_K)
    reach_h = (tap // SIZE - SIZE // 2) * d_h + shift_h
    reach_w = (tap % SIZE - SIZE // 2) * d_w + shift_w
    # Channels outside the blocks are read along and not stored.
    n_there, k_there = n < out_channels, k < in_channels
    total = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    for low in range(split * share, tl.minimum(split * share + share, pixels), BLOCK_M):
        m = low + tl.arange(0, BLOCK_M)
        column = m % grad_width
        row = m // grad_width % grad_height
        image = (m // (grad_width * grad_height)).to(tl.int64)
        h, w = row * STRIDE_H + reach_h, column * STRIDE_W + reach_w
        inside = (h >= 0) & (w >= 0) & (h < height) & (w < width) & (m < pixels)
        at = (
            grad + image * grad_image_stride + (row * grad_row_stride + column * grad_column_stride)
        )
        g = tl.load(at[None, :] + n[:, None], inside[None, :] & n_there[:, None], 0.0)
        at = source + image * image_stride + (h * row_stride + w * column_stride)
        x = tl.load(at[:, None] + k[None, :], inside[:, None] & k_there[None, :], 0.0)
        total = tl.dot(g, x, total, input_precision=PRECISION)

    n_chosen, k_chosen = (n >= first) & (n < end), (k >= k_first) & (k < k_end)
    c = tl.load(outputs + n, n_chosen, 0) if SORTED_N else n
    # The order of the first group's input channels is that of each group's.
    local = tl.load(inputs + k - start, k_chosen, 0) if SORTED_K else k - start
    at = partial + split.to(tl.int64) * (out_channels * TAPS * depth)
    at = at + (c * (TAPS * depth))[:, None] + (tap * depth + local)[None, :]
    tl.store(at, total, n_chosen[:, None] & k_chosen[None, :])
