"""What ``winograd`` walks through: which outputs read which inputs, in the order of its loops."""

from typing import NamedTuple

import numpy as np

from mmic.layers.direct.loops import BLOCK, MOST, TOGETHER

PIXELS = 2048  # of the output, in a tile at most: the tiles of all channels are to stay in a cache


class Plan(NamedTuple):
    """Tables of int64.

    Attributes:
        stages (ndarray): (stages, 5): d_h, its slots and its jobs, as first and one after the last.
        slots (ndarray): (slots, 2): an input channel and the p_h that it is read with.
        jobs (ndarray): (jobs, 5 + MOST): how many outputs are computed together, their reads as
            first and one after the last, how many reads the jobs before have, whether nothing has
            been added to these outputs before, and the outputs.
        reads (ndarray): (reads, 4): slot, counted within the stage, input channel, the column
            where taps start, d_w.
        left (int): Columns of zeros before each row.
        reach (int): Columns from the start of a row to the last tap of its first pixel, at most.
    """

    stages: np.ndarray
    slots: np.ndarray
    jobs: np.ndarray
    reads: np.ndarray
    left: int
    reach: int


class Gradients(NamedTuple):
    """Tables of int64 for the gradient of the weight, beside the plan of the layer.

    Attributes:
        pairs (ndarray): (pairs, 4 + 3 * TOGETHER): stage, the sources as first and one after the
            last, how many blocks of sources the pairs before have; of each output its channel, the
            column where taps start and d_w. A lone output has -1 for the other's channel.
        sources (ndarray): (sources, 2): slot, counted within the stage, and input channel.
    """

    pairs: np.ndarray
    sources: np.ndarray


def plan_direct(parts):
    """Plan a convolution that is the sum of parts, no two of which share a kernel.

    Args:
        parts (list[Kernels]): The parts.

    Returns:
        Plan
    """
    left = _left(parts)
    stages, slots, jobs, reads, factors, seen = [], [], [], [], 0, set()
    for d_h, chosen in _by_height(parts):
        places = _slots(chosen)
        first = len(jobs)
        for own, outputs in alike_outputs(chosen):
            begin = len(reads)
            for part in own:
                column, d_w = left - part.padding[1], part.dilation[1]
                reads += [(places[k, part.padding[0]], k, column, d_w) for k in part.inputs]
            for outs in split_outputs(outputs):
                filler = [-1] * (MOST - len(outs))
                fresh = not seen.intersection(outs)
                jobs.append((len(outs), begin, len(reads), factors, fresh, *outs, *filler))
                factors += len(reads) - begin
        seen.update(out for part in chosen for out in part.outputs)
        stages.append((d_h, len(slots), len(slots) + len(places), first, len(jobs)))
        slots += places
    reach = max(column + 2 * d_w for _, _, column, d_w in reads)
    return Plan(*map(table, (stages, slots, jobs, reads)), left, reach)


def plan_gradients(parts):
    """Plan the gradient of the weight of the same parts.

    Args:
        parts (list[Kernels]): Those of ``plan_direct``.

    Returns:
        Gradients
    """
    left = _left(parts)
    pairs, sources, blocks = [], [], 0
    for stage, (_, chosen) in enumerate(_by_height(parts)):
        places = _slots(chosen)
        alike = {}  # what parts read -> outputs
        for part in chosen:
            column, d_w = left - part.padding[1], part.dilation[1]
            key = tuple((places[k, part.padding[0]], k) for k in part.inputs)
            alike.setdefault(key, []).extend((out, column, d_w) for out in part.outputs)
        for read, outputs in alike.items():
            begin = len(sources)
            sources += read
            for start in range(0, len(outputs), TOGETHER):
                outs = outputs[start : start + TOGETHER]
                outs += [(-1, 0, 0)] * (TOGETHER - len(outs))
                pairs.append(
                    (stage, begin, len(sources), blocks, *(n for out in outs for n in out))
                )
                blocks += -(-len(read) // BLOCK)
    return Gradients(table(pairs), table(sources))


def table(rows):
    return np.array(rows, np.int64)


def _left(parts):
    return max(0, *(part.padding[1] for part in parts))


def _by_height(parts):
    """The parts of each d_h, which are computed one after the other."""
    heights = sorted({part.dilation[0] for part in parts})
    return [(d_h, [part for part in parts if part.dilation[0] == d_h]) for d_h in heights]


def _slots(parts):
    """(input channel, p_h) to its place among those of a stage."""
    wanted = {(k, part.padding[0]): None for part in parts for k in part.inputs}
    return {each: place for place, each in enumerate(wanted)}


def alike_outputs(parts):
    """Outputs that are made of the same parts.

    Returns:
        list[tuple[list[Kernels], list[int]]]: Parts, and the outputs that have just these.
    """
    of_output = {}
    for number, part in enumerate(parts):
        for out in part.outputs:
            of_output.setdefault(out, []).append(number)
    alike = {}
    for out, numbers in of_output.items():
        alike.setdefault(tuple(numbers), []).append(out)
    return [([parts[n] for n in numbers], outputs) for numbers, outputs in alike.items()]


def split_outputs(outputs):
    """Outputs to compute together: mostly four, and threes or five rather than one or two."""
    fours, rest = divmod(len(outputs), 4)
    sizes = [4] * fours + [rest] * (rest > 0)
    if fours and rest == 1:
        sizes = [4] * (fours - 1) + [5]
    elif fours and rest == 2:
        sizes = [4] * (fours - 1) + [3, 3]
    ends = np.cumsum(sizes)
    return [outputs[end - size : end] for size, end in zip(sizes, ends)]


def rows_together(stages, height, pitch, share):
    """Rows of the output that are computed together.

    Two rows that are d_h apart share their products, so 2 d_h is to divide them; and the tiles are
    to stay in a cache.

    Args:
        stages (ndarray): Of the plan.
        height (int): Rows of the output.
        pitch (int): Pixels of a row.
        share (int): Rows of all images that each thread has to compute.

    Returns:
        int
    """
    heights = stages[:, 0]

    def computed(rows):
        full, rest = divmod(height, rows)
        blocks = full * -(-rows // (2 * heights)) + -(-rest // (2 * heights))
        return int((blocks * heights).sum())

    share = max(share, 2 * heights.max())
    most = max(2, min(height + 1, PIXELS // pitch, share))
    return min(range(2, most + 1), key=lambda rows: (computed(rows), -rows))
