"""What stands around the Triton kernels; ``interpreted_kernels.py`` runs them, without a GPU."""

import itertools
import sys
from pathlib import Path

import pytest
import torch
from helpers import run_command, run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from mmic.layers import ICConv2d, PSConv2d, kernels
from mmic.layers.kernels import tables
from mmic.layers.ps_conv import dilation_matrix

needs_kernels = pytest.mark.skipif(
    not kernels.AVAILABLE,
    reason='needs Triton 3 and torch.library.custom_op, which torch has from 2.4 on',
)
# The shared memory of a program on the smallest GPUs from Ampere on, those of capability 8.6.
SHARED_MEMORY = 99 * 1024


@pytest.mark.slow
@needs_kernels
def test_kernels_in_the_interpreter():
    tests = Path(__file__).parent / 'interpreted_kernels.py'
    command = (sys.executable, '-m', 'pytest', tests, '-q', '-p', 'no:cacheprovider')
    printed = run_command(*command, timeout=800, TRITON_INTERPRET='1')
    assert 'skipped' not in printed


def places(low, high, block):
    """Whether a range lies within one block."""
    assert low // block == (high - 1) // block
    return range(low, high)


def covered(classes, groups):
    """Dilation of each kernel (output channel, input channel) by each part of the table.

    Returns:
        tuple[dict, dict, dict]: From the blocks of output channels, those of input channels, and
        the pairs. A kernel that occurs twice is an error.
    """
    numbers, plan = tables.build_table(classes)
    out, into, pairs = tables.read_table(torch.tensor(numbers), plan, len(classes.outputs))
    outputs, inputs = out.channels.tolist(), into.channels.tolist()
    assert sorted(outputs) == list(range(len(outputs)))
    assert sorted(inputs) == list(range(len(inputs)))
    depth, parts = len(inputs) // groups, ({}, {}, {})

    def add(part, rows, columns, group, pair):
        for r, k in itertools.product(rows, columns):
            assert inputs[k] // depth == group
            key = outputs[r], inputs[k]
            assert key not in part
            part[key] = pair

    for part, side in zip(parts, (out, into)):
        rows = side.rows.view(side.blocks, -1).tolist()
        for low, high, group, count, *segments in rows:
            assert count <= side.segments
            for start in range(0, 4 * count, 4):
                d_h, d_w, first, end = segments[start : start + 4]
                both = places(low, high, side.block), range(first, end)
                add(part, *(both if side is out else both[::-1]), group, (d_h, d_w))
    for low, high, first, end, group, d_h, d_w, _ in pairs.view(-1, 8).tolist():
        both = places(low, high, out.block), places(first, end, into.block)
        add(parts[2], *both, group, (d_h, d_w))
    return parts


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_table_of_output_channels_holds_each_kernel_once(data):
    groups = data.draw(st.sampled_from([1, 2, 3]))
    depth, per_group = (data.draw(st.integers(1, 40)) for _ in range(2))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 2))
    size = groups * per_group
    dilations = data.draw(st.lists(pair, min_size=size, max_size=size))
    if data.draw(st.booleans()):
        dilations.sort()
    classes = tables.classes_by_output(torch.tensor(dilations), groups * depth, groups)
    wanted = {
        (c, c // per_group * depth + k): pair
        for c, pair in enumerate(dilations)
        for k in range(depth)
    }
    assert covered(classes, groups) == (wanted,) * 3


@pytest.mark.parametrize('axes', ['both', 'input', 'output', 'group'])
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize(('depth', 'per_group'), [(64, 128), (7, 9), (20, 33)])
def test_a_table_of_kernels_holds_each_once(depth, per_group, groups, axes):
    rates = dilation_matrix((1, 2, 1, 4), groups * depth, groups * per_group, groups, axes)
    wanted = {
        (c, c // per_group * depth + k): (rate, rate)
        for c, row in enumerate(rates.tolist())
        for k, rate in enumerate(row)
    }
    assert covered(tables.classes_by_kernel(rates, groups), groups) == (wanted,) * 3


@needs_kernels
def test_full_blocks_and_order_are_known():
    """Sorted dilations in multiples of 16 need no masks and no copies; others do."""
    cases = {
        ((1, 1),) * 48 + ((2, 1),) * 16: (1, 0),
        ((1, 1),) * 47 + ((2, 1),) * 17: (0, 0),
        ((1, 1), (2, 1)) * 32: (1, 1),
    }
    for dilations, wanted in cases.items():
        layer = ICConv2d(64, 64, 3, padding=1, dilations=dilations)
        layout = tables.Layout(*layer._kernel_layout)
        assert (layout.full_out, layout.sort_out) == wanted
        assert (layout.full_in, layout.sort_in) == (1, 0)


def test_a_cpu_computes_the_plain_form():
    x = torch.randn(1, 16, 4, 4)
    for layer in (
        ICConv2d(16, 16, 3, padding=1, dilations=[(1, 1)] * 8 + [(2, 1)] * 8),
        PSConv2d(16, 16, 3, padding=1),
    ):
        assert not kernels.kernels_apply(layer, x, layer.weight)
        assert set(layer.state_dict()) == {'weight', 'bias', 'dilations'}


SWITCH = """
import torch
from mmic.layers import ICConv2d, kernels
conv = ICConv2d(16, 16, 3, padding=1, dilations=[(1, 2)] * 16)
print('apply:', kernels.kernels_apply(conv, torch.randn(1, 16, 3, 3), conv.weight))
"""


@needs_kernels
def test_the_switch(monkeypatch):
    """The kernels would apply here, as ``interpreted_kernels.py`` tests."""
    assert 'apply: False' in run_python(SWITCH, TRITON_INTERPRET='1', MMIC_KERNELS='plain')
    monkeypatch.setenv('MMIC_KERNELS', 'fast')
    with pytest.raises(ValueError, match=r"MMIC_KERNELS must be .*'auto', 'plain'.*, got 'fast'"):
        kernels.chosen()


def compile_kernel(kernel, capability, element, options):
    """Compile a kernel for a GPU that need not be there.

    Returns:
        tuple[str, int]: PTX, and bytes of shared memory.
    """
    import triton
    from triton.backends.compiler import GPUTarget

    pointers = dict.fromkeys(('source', 'weight', 'result', 'grad'), f'*{element}')
    pointers.update(dict.fromkeys(('table', 'order', 'outputs', 'inputs'), '*i32'), partial='*fp32')
    # What the launcher finds in a layer of 16 n channels: aligned tensors, strides and counts.
    multiples = [
        name
        for name in kernel.arg_names
        if name in pointers or name.endswith(('stride', 'channels', 'sources', 'results', 'depth'))
    ]
    signature = {
        name: 'constexpr' if name in options else pointers.get(name, 'i32')
        for name in kernel.arg_names
    }
    attributes = {(kernel.arg_names.index(name),): [['tt.divisibility', 16]] for name in multiples}
    source = triton.compiler.ASTSource(kernel, signature, options, attributes)
    stages = 2 if element == 'fp32' else 3
    target = GPUTarget('cuda', capability, 32)
    made = triton.compile(source, target, options=dict(num_warps=4, num_stages=stages))
    return made.asm['ptx'], made.metadata.shared


@needs_kernels
@pytest.mark.parametrize('element', ['bf16', 'fp32'])
@pytest.mark.parametrize('capability', [80, 90])
def test_compiles_for_gpus(capability, element, tmp_path, monkeypatch):
    """Into tensor-core products of operands that are read 16 bytes at once, ahead of their use."""
    from mmic.layers.kernels.triton_conv import conv_kernel, weight_kernel

    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    single = element == 'fp32'
    common = dict(SIZE=3, STRIDE_H=1, STRIDE_W=1, PRECISION='tf32', BLOCK_N=64)
    conv = dict(common, SEGMENTS=1, FULL_K=1, BIAS=False, SORTED=0, bias=None, TRANSPOSED=False)
    conv.update(BLOCK_M=64 if single else 128, BLOCK_K=32 if single else 64)
    weight = dict(common, SORTED_N=0, SORTED_K=0, BLOCK_M=32 if single else 64, BLOCK_K=64)
    cases = [
        (conv_kernel, dict(conv, FULL_N=1)),
        (conv_kernel, dict(conv, FULL_N=0)),
        (conv_kernel, dict(conv, FULL_N=1, FULL_K=0, TRANSPOSED=True, SEGMENTS=16)),
        (weight_kernel, weight),
    ]
    for kernel, options in cases:
        ptx, shared = compile_kernel(kernel, capability, element, options)
        assert 'wgmma.mma_async' in ptx or 'mma.sync' in ptx
        assert 'cp.async' in ptx
        assert 'ld.global.b16' not in ptx
        assert shared <= SHARED_MEMORY
        if not single:  # Hopper transposes some operands of float32 as it reads them
            assert 'cp.async.cg' in ptx
            assert 'cp.async.ca' not in ptx
