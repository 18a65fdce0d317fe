"""CR-NAS's searches against brute force, and against Algorithm 1 written out."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmic.search.cr_nas import (
    draw_completions,
    greedy_calls,
    greedy_ranking,
    greedy_search,
    search_stages,
    stage_candidates,
)

DILATIONS = (1, 2, 3)


def complete(num_blocks):
    return list(itertools.product(DILATIONS, repeat=num_blocks))


def random_scores(num_blocks, seed, levels=None):
    """A score for every prefix up to ``num_blocks``, from few ``levels`` to have ties."""
    draw = random.Random(seed)
    prefixes = [prefix for length in range(1, num_blocks + 1) for prefix in complete(length)]
    return {prefix: draw.randrange(levels) if levels else draw.gauss(0, 1) for prefix in prefixes}


class Counted:
    """A score function that keeps what it was asked."""

    def __init__(self, score):
        self.score = score
        self.asked = []

    def __call__(self, architecture):
        self.asked.append(architecture)
        return self.score(architecture)


@pytest.mark.parametrize('family', ['resnet', 'resnext'])
@pytest.mark.parametrize(('num_blocks', 'count'), [(8, 9), (16, 153), (33, 374)])
def test_stage_candidates_of_resnet(family, num_blocks, count):
    found = stage_candidates(family, num_blocks)
    expected = []
    for first in range(1, 11):
        for second in range(1, 11):
            for third in (2, 3, 5, 6, 9, 11, 14, 17, 20, 23):
                fourth = num_blocks - first - second - third
                if fourth in {2, 3, 4, 6, 7, 9, 11, 13, 15, 17}:
                    expected.append((first, second, third, fourth))
    assert found == expected
    assert len(found) == count


def test_stage_candidates_of_mobilenetv2():
    low, middle, high = (1, 2, 3, 4, 5), (3, 4, 5, 6, 7), (2, 3, 4, 5, 6)
    # The weights 1.5, 1, 1, 0.75, 1.25 and the budget 16 in quarters.
    expected = [
        (1, 1, *groups, 1, 1, 1)
        for groups in itertools.product(low, low, middle, high, high)
        if sum(weight * blocks for weight, blocks in zip((6, 4, 4, 3, 5), groups)) == 64
    ]
    found = stage_candidates('mobilenetv2')
    assert found == expected
    assert len(found) == 43
    assert sum(sum(blocks[2:7]) == 15 for blocks in found) == 23
    assert (1, 1, 2, 3, 4, 3, 3, 1, 1, 1) in found
    assert (1, 1, 2, 2, 3, 4, 4, 1, 1, 1) in found


@pytest.mark.parametrize(
    ('num_blocks', 'published'),
    [(8, (1, 1, 2, 4)), (16, (1, 3, 5, 7)), (16, (2, 2, 6, 6)), (33, (2, 3, 17, 11))],
)
def test_published_stages_can_be_found(num_blocks, published):
    assert published in stage_candidates('resnet', num_blocks)


def test_one_published_stage_code_is_outside_its_space():
    """ResNeXt101's third stage has 15 blocks, which the paper's own set has not."""
    assert (3, 4, 15, 11) not in stage_candidates('resnext', 33)


def test_every_number_of_blocks_that_is_named_possible_is():
    assert all(stage_candidates('resnet', num_blocks) for num_blocks in range(6, 61))


@pytest.mark.parametrize(
    ('family', 'num_blocks', 'message'),
    [
        ('resnet', 5, 'from 6 to 60 .*got 5'),
        ('resnext', 61, 'num_blocks of resnext .*got 61'),
        ('resnet', None, 'got None'),
        ('resnet', 16.0, r'whole number .*got 16\.0'),
        ('mobilenetv2', 20, r'weighted budget of 16\.0.*num_blocks=20'),
        ('densenet', 16, "'mobilenetv2'.*got 'densenet'"),
    ],
)
def test_impossible_stage_space_is_refused(family, num_blocks, message):
    with pytest.raises(ValueError, match=message):
        stage_candidates(family, num_blocks)


def test_stages_are_all_scored_and_ranked():
    candidates = stage_candidates('resnet', 16)
    score = Counted(lambda blocks: -abs(blocks[2] - 9) + blocks[0] % 2)
    seen = []
    ranking = search_stages(score, candidates, lambda *counts: seen.append(counts))
    assert score.asked == candidates
    assert seen == [(done, 153) for done in range(1, 154)]
    # Each goes behind all that are better or equal, so equals stay in order.
    expected = []
    for blocks in candidates:
        value = -abs(blocks[2] - 9) + blocks[0] % 2
        position = sum(other >= value for _, other in expected)
        expected.insert(position, (blocks, value))
    assert ranking == expected


def test_stage_search_needs_candidates():
    with pytest.raises(ValueError, match='no candidates'):
        search_stages(len, [])


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(1, 5))
def test_greedy_finds_the_optimum_of_additive_scores(data, num_blocks, k):
    row = st.lists(st.integers(-50, 50), min_size=3, max_size=3, unique=True)
    table = data.draw(st.lists(row, min_size=num_blocks, max_size=num_blocks))

    def score(prefix):
        return sum(block[dilation - 1] for block, dilation in zip(table, prefix))

    values = [score(architecture) for architecture in complete(num_blocks)]
    optimum = complete(num_blocks)[values.index(max(values))]
    assert values.count(max(values)) == 1
    assert greedy_search(score, num_blocks, k=k) == optimum


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**16))
def test_greedy_finds_any_optimum_if_prefixes_promise_their_best_completion(num_blocks, seed):
    draw = random.Random(seed)
    final = {architecture: draw.random() for architecture in complete(num_blocks)}

    def promise(prefix):
        return max(value for key, value in final.items() if key[: len(prefix)] == prefix)

    assert greedy_search(promise, num_blocks, k=1) == max(final, key=final.get)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**16))
def test_greedy_that_keeps_all_is_exhaustive(num_blocks, seed):
    """However little the scores of prefixes say about those of complete architectures."""
    scores = random_scores(num_blocks, seed)
    ranking = greedy_ranking(scores.get, num_blocks, k=3**num_blocks)
    best_first = sorted(complete(num_blocks), key=scores.get, reverse=True)
    assert ranking == [(architecture, scores[architecture]) for architecture in best_first]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**16), st.integers(1, 9))
def test_greedy_is_algorithm_1(num_blocks, k, seed, levels):
    """With many equal scores; the first of equals is taken from the list, k times."""
    scores = random_scores(num_blocks, seed, levels)
    kept, asked = [()], []
    for _ in range(num_blocks):
        extended = []
        for prefix in kept:
            extended += [prefix + (1,), prefix + (2,), prefix + (3,)]
        asked += extended
        kept = []
        while extended and len(kept) < k:
            kept.append(max(extended, key=scores.get))  # max returns the first of equals
            extended.remove(kept[-1])
    score = Counted(scores.get)
    ranking = greedy_ranking(score, num_blocks, k=k)
    assert score.asked == asked
    assert [architecture for architecture, _ in ranking[:k]] == kept
    assert greedy_search(scores.get, num_blocks, k=k) == kept[0]


def test_keeping_more_prefixes_finds_what_the_best_prefix_hides():
    scores = {(1,): 3, (2,): 2, (3,): 1}
    scores.update(dict.fromkeys(complete(2), 0))
    scores[3, 2] = 9
    assert greedy_search(scores.get, 2, k=1) == (1, 1)
    assert greedy_search(scores.get, 2, k=2) == (1, 1)
    assert greedy_search(scores.get, 2, k=3) == (3, 2)


def test_equals_go_to_the_earlier_choice():
    assert greedy_search(lambda prefix: 0.5, 6) == (1, 1, 1, 1, 1, 1)
    assert greedy_search(lambda prefix: 0.5, 6, choices=(3, 1, 2)) == (3, 3, 3, 3, 3, 3)


@pytest.mark.parametrize('num_blocks', [1, 2, 8, 16, 33])
def test_scorings_are_3_and_9_for_each_further_block(num_blocks):
    score = Counted(lambda prefix: -len(prefix))
    seen = []
    ranking = greedy_ranking(score, num_blocks, progress=lambda *counts: seen.append(counts))
    expected = 3 + 9 * (num_blocks - 1)
    assert len(score.asked) == len(set(score.asked)) == expected == greedy_calls(num_blocks)
    assert seen == [(done, expected) for done in range(1, expected + 1)]
    assert len(ranking) == (3 if num_blocks == 1 else 9)


@pytest.mark.parametrize(
    ('num_choices', 'k', 'calls'), [(3, 1, 12), (3, 5, 3 + 9 + 15 + 15), (1, 4, 4), (2, 8, 30)]
)
def test_scorings_with_other_options(num_choices, k, calls):
    score = Counted(sum)
    greedy_search(score, 4, tuple(range(1, num_choices + 1)), k)
    assert len(score.asked) == calls == greedy_calls(4, num_choices, k)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'k': 0}, 'k must be .*got 0'),
        ({'k': 2.5}, r'k must be .*got 2\.5'),
        ({'num_blocks': 0}, 'num_blocks must be .*got 0'),
        ({'choices': ()}, r'at least one, got \(\)'),
        ({'choices': (1, 2, 2)}, r'different dilations.*\(1, 2, 2\)'),
    ],
)
def test_impossible_search_is_refused_before_scoring(arguments, message):
    score = Counted(sum)
    with pytest.raises(ValueError, match=message):
        greedy_search(score, **{'num_blocks': 4, **arguments})
    assert score.asked == []


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf'), None, '0.3'])
def test_broken_scores_name_the_architecture(value):
    with pytest.raises(ValueError, match=r'score of \(1, 2\) must be a finite number'):
        greedy_search(lambda prefix: value if prefix == (1, 2) else 0.0, 3)
    with pytest.raises(ValueError, match=r'score of \(1, 1, 2, 4\) must be a finite number'):
        search_stages(lambda blocks: value, [(1, 1, 2, 4)])


def test_completions_extend_the_prefix_uniformly():
    drawn = draw_completions((3, 1), 5, 3000, seed=4)
    assert len(drawn) == 3000
    assert {architecture[:2] for architecture in drawn} == {(3, 1)}
    shares = [drawn.count((3, 1, *rest)) / 3000 for rest in complete(3)]
    # Each of 27 has a share of 0.037 with a standard deviation of 0.0034.
    assert sum(shares) == pytest.approx(1)
    assert all(0.02 < share < 0.054 for share in shares)


def test_completions_depend_on_seed_and_prefix_alone():
    first = draw_completions((1, 2), 16, 20, seed=7)
    random.seed(0)
    assert draw_completions([1, 2], 16, 20, seed=7) == first
    assert draw_completions((1, 2), 16, 20, seed=8) != first
    other = draw_completions((2, 1), 16, 20, seed=7)
    assert [architecture[2:] for architecture in other] != [blocks[2:] for blocks in first]
    assert draw_completions((1, 2), 16, 5, seed=7) == first[:5]


def test_nothing_is_drawn_at_the_last_block():
    assert draw_completions((1, 2, 3), 3, 4) == [(1, 2, 3)] * 4


@pytest.mark.parametrize(
    ('prefix', 'count', 'choices', 'message'),
    [
        ((1,), 0, (1, 2), 'got 0 .*validation set empty'),
        ((1,), 4, (), r'got 4 and \(\)'),
        ((1, 2, 3, 1), 4, (1, 2), r'\(1, 2, 3, 1\) is longer than num_blocks=3'),
    ],
)
def test_impossible_draws_are_refused(prefix, count, choices, message):
    with pytest.raises(ValueError, match=message):
        draw_completions(prefix, 3, count, choices)
