"""CR-NAS: how many blocks each stage gets, and which dilation each block.

Liang et al., "Computation Reallocation for Object Detection", ICLR 2020, section 3.3.
``score`` is any function from an architecture, a tuple of integers, to a number where more is
better: AP of the supernet in the paper. Stage codes are few enough to score them all (Eq. 1);
dilations are chosen block by block, with the k best prefixes kept (Algorithm 1).
"""

import itertools
import math
import random
from numbers import Real

from mmic.pattern import is_integer
from mmic.search.cr_archs import MOBILENETV2_BUDGET, check_family, mobilenetv2_cost

# Section 3.2.1, and Appendix A.2 for MobileNetV2 with its fixed units.
_RESNET = (
    tuple(range(1, 11)),
    tuple(range(1, 11)),
    (2, 3, 5, 6, 9, 11, 14, 17, 20, 23),
    (2, 3, 4, 6, 7, 9, 11, 13, 15, 17),
)
_ONE, _LOW, _MIDDLE, _HIGH = (1,), (1, 2, 3, 4, 5), (3, 4, 5, 6, 7), (2, 3, 4, 5, 6)
STAGE_SPACES = {
    'resnet': _RESNET,
    'resnext': _RESNET,
    'mobilenetv2': (_ONE, _ONE, _LOW, _LOW, _MIDDLE, _HIGH, _HIGH, _ONE, _ONE, _ONE),
}


def stage_candidates(family, num_blocks=None):
    """List the stage codes of the search space that cost what the baseline costs.

    Args:
        family (str): ``'resnet'``, ``'resnext'`` or ``'mobilenetv2'``.
        num_blocks (int, optional): Blocks of the network: 8, 16, 33 for depths 18, 50, 101.
            Not given for MobileNetV2, whose blocks are weighted to a budget of 16.0.

    Returns:
        list[tuple[int, ...]]: In increasing order; four stages, or MobileNetV2's ten units.

    Raises:
        ValueError: An unknown family, or no network has ``num_blocks`` blocks.
    """
    check_family(family)
    space = STAGE_SPACES[family]
    if family == 'mobilenetv2':
        if num_blocks is not None:
            raise ValueError(
                f'mobilenetv2 is searched at a weighted budget of {MOBILENETV2_BUDGET}, not at a '
                f'number of blocks; got num_blocks={num_blocks!r}.'
            )
        cost, budget = mobilenetv2_cost, MOBILENETV2_BUDGET
    else:
        least, most = sum(map(min, space)), sum(map(max, space))
        if not is_integer(num_blocks) or not least <= num_blocks <= most:
            raise ValueError(
                f'num_blocks of {family} must be a whole number from {least} to {most} '
                f'(8, 16, 33 for depths 18, 50, 101), got {num_blocks!r}.'
            )
        cost, budget = sum, num_blocks
    return [blocks for blocks in itertools.product(*space) if cost(blocks) == budget]


def search_stages(score, candidates, progress=None):
    """Score all stage codes (Eq. 1).

    Args:
        score (Callable[[tuple[int, ...]], float]): More is better.
        candidates (Sequence[tuple[int, ...]]): See ``stage_candidates``.
        progress (Callable[[int, int], None], optional): Called with the scorings done and their
            total after each.

    Returns:
        list[tuple[tuple[int, ...], float]]: Stage codes and scores, best first; equals in the
        order of ``candidates``.

    Raises:
        ValueError: There are no candidates, or a score is not a finite number.
    """
    if not candidates:
        raise ValueError('there are no candidates to search.')
    return _rank(score, candidates, _counter(len(candidates), progress))


def greedy_search(score, num_blocks, choices=(1, 2, 3), k=3):
    """Choose a dilation for each block, from the first to the last (Algorithm 1).

    See ``greedy_ranking``, of which this is the first.

    Returns:
        tuple[int, ...]: The best complete architecture.
    """
    return greedy_ranking(score, num_blocks, choices, k)[0][0]


def greedy_ranking(score, num_blocks, choices=(1, 2, 3), k=3, progress=None):
    """Run Algorithm 1 and return all complete architectures that it scored.

    Only blocks with a choice are counted: MobileNetV2's 17 bottlenecks, say, with the caller
    adding the dilation 1 of the stem and the last two units (``cr_archs.free_units``).

    Args:
        score (Callable[[tuple[int, ...]], float]): Takes the dilations of the first blocks, 1 to
            ``num_blocks`` of them; more is better. See ``draw_completions``.
        num_blocks (int): Blocks to choose for.
        choices (Sequence[int]): Dilations to choose from. Defaults to (1, 2, 3).
        k (int): Prefixes kept after each block. Defaults to 3.
        progress (Callable[[int, int], None], optional): Called with the scorings done and their
            total after each.

    Returns:
        list[tuple[tuple[int, ...], float]]: The extensions of the last prefixes kept, at most
        ``k * len(choices)``, and their scores, best first. Of equals, those of the better prefix
        come first, then those of the earlier choice.

    Raises:
        ValueError: ``num_blocks`` or ``k`` below 1, no or repeated choices, or a score that is
            not a finite number.
    """
    choices = tuple(choices)
    if not choices or len(set(choices)) < len(choices):
        raise ValueError(f'choices must be different dilations, at least one, got {choices}.')
    done = _counter(greedy_calls(num_blocks, len(choices), k), progress)
    kept = [()]
    for _ in range(num_blocks):
        extended = [(*prefix, choice) for prefix in kept for choice in choices]
        ranking = _rank(score, extended, done)
        kept = [prefix for prefix, _ in ranking[:k]]
    return ranking


def greedy_calls(num_blocks, num_choices=3, k=3):
    """Scorings of ``greedy_ranking``: 3 + 9 (num_blocks - 1) with 3 choices and k = 3."""
    for name, value in (('num_blocks', num_blocks), ('num_choices', num_choices), ('k', k)):
        if not is_integer(value) or value < 1:
            raise ValueError(f'{name} must be a whole number from 1 up, got {value!r}.')
    calls, kept = 0, 1
    for _ in range(num_blocks):
        extended = kept * num_choices
        calls += extended
        kept = min(k, extended)
    return calls


def draw_completions(prefix, num_blocks, count, choices=(1, 2, 3), seed=0):
    """Complete a prefix at random, once for each mini-batch that its score is taken over.

    The draw depends on nothing but the arguments, so that every process and every resumed
    search draws the same.

    Args:
        prefix (Sequence[int]): Dilations of the first blocks.
        num_blocks (int): Blocks of a complete architecture.
        count (int): Completions to draw: mini-batches of the validation set.
        choices (Sequence[int]): Drawn from uniformly. Defaults to (1, 2, 3).
        seed (int): Defaults to 0.

    Returns:
        list[tuple[int, ...]]: ``count`` architectures; all are ``prefix`` if it is complete.

    Raises:
        ValueError: ``count`` below 1, no choices, or a prefix longer than ``num_blocks``.
    """
    prefix, choices = tuple(prefix), tuple(choices)
    if count < 1 or not choices:
        raise ValueError(
            f'count must be 1 or more, with choices to draw from; got {count} and {choices}: is '
            'the validation set empty?'
        )
    if len(prefix) > num_blocks:
        raise ValueError(f'prefix {prefix} is longer than num_blocks={num_blocks}.')
    # A string seeds the generator alike in every process; hash() of one would not.
    generator = random.Random('-'.join(map(str, (seed, *prefix))))
    left = num_blocks - len(prefix)
    return [(*prefix, *generator.choices(choices, k=left)) for _ in range(count)]


def check_score(architecture, value):
    """Return a score as float, or raise ValueError naming the architecture it is wrong for."""
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(
            f'The score of {tuple(architecture)} must be a finite number, got {value!r}.'
        )
    return float(value)


def _rank(score, architectures, done):
    scored = []
    for architecture in architectures:
        scored.append((architecture, check_score(architecture, score(architecture))))
        done()
    # Sorting keeps equals in order.
    return sorted(scored, key=lambda item: -item[1])


def _counter(total, progress):
    """A function that counts its calls and passes the count and the total to ``progress``."""
    count = itertools.count(1)
    return lambda: progress(next(count), total) if progress else None
