"""Searches that are stopped go on from their journal."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT, run_command

from mmic.files import BadFileError
from mmic.search.cr_nas import draw_completions, greedy_ranking, search_stages, stage_candidates
from mmic.search.journal import Journal

HEADER = {'kind': 'dilations', 'checkpoint': 'supernet.pth', 'seed': 3, 'choices': (1, 2, 3)}
NUM_BLOCKS = 8
CALLS = 3 + 9 * 7

# The same search in another process, which kills itself when 22 scorings are done.
KILLED = """
import os, signal, sys
import test_journal as test
from mmic.search.cr_nas import greedy_ranking
from mmic.search.journal import Journal

journal = Journal(sys.argv[1], test.HEADER)

def score(prefix):
    if len(journal.scores) == 22:
        os.kill(os.getpid(), signal.SIGKILL)
    return test.noisy_score(prefix)

greedy_ranking(journal.score(score), test.NUM_BLOCKS)
"""


def noisy_score(prefix):
    """Mean over random completions of something that is not additive."""
    drawn = draw_completions(prefix, NUM_BLOCKS, 7, seed=3)
    return sum((a * b * c) % 5 / 3 for x in drawn for a, b, c in zip(x, x[1:], x[2:])) / 7


class Stopping:
    """``noisy_score`` that fails after some calls and counts them."""

    def __init__(self, after=None):
        self.after = after
        self.calls = 0

    def __call__(self, prefix):
        if self.calls == self.after:
            raise KeyboardInterrupt
        self.calls += 1
        return noisy_score(prefix)


def scored(content):
    """The lines of a journal without the seconds, which differ from run to run."""
    header, *entries = map(json.loads, content.splitlines())
    assert all(entry.pop('seconds') >= 0 for entry in entries)
    return header, entries


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Ranking and journal of a search that nothing stopped."""
    path = tmp_path_factory.mktemp('journal') / 'whole.jsonl'
    score = Stopping()
    ranking = greedy_ranking(Journal(path, HEADER).score(score), NUM_BLOCKS)
    assert score.calls == CALLS
    assert ranking == greedy_ranking(noisy_score, NUM_BLOCKS)
    return ranking, path.read_bytes()


def resume(path, done, whole):
    """Finish a search of which ``done`` scorings are known; it must end like the whole one."""
    score = Stopping()
    assert greedy_ranking(Journal(path, HEADER).score(score), NUM_BLOCKS) == whole[0]
    assert score.calls == CALLS - done
    assert scored(path.read_bytes()) == scored(whole[1])


@pytest.mark.parametrize('done', [0, 1, 22, CALLS - 1, CALLS])
def test_stopped_search_does_only_the_rest(tmp_path, whole, done):
    path = tmp_path / 'journal.jsonl'
    if done < CALLS:
        with pytest.raises(KeyboardInterrupt):
            greedy_ranking(Journal(path, HEADER).score(Stopping(done)), NUM_BLOCKS)
    else:
        greedy_ranking(Journal(path, HEADER).score(Stopping()), NUM_BLOCKS)
    assert len(path.read_text().splitlines()) == 1 + done
    resume(path, done, whole)


def test_killed_search_does_only_the_rest(tmp_path, whole):
    path = tmp_path / 'journal.jsonl'
    here = Path(__file__).parent
    search_path = os.pathsep.join(map(str, (here, here.parent, ROOT)))
    # Another hash seed, so that nothing drawn at random may depend on it.
    environment = dict(PYTHONPATH=search_path, PYTHONHASHSEED='12345')
    run_command(sys.executable, '-c', KILLED, path, code=-signal.SIGKILL, **environment)
    assert len(path.read_text().splitlines()) == 1 + 22
    resume(path, 22, whole)


@pytest.mark.parametrize('cut', [1, 10, 30])
def test_line_cut_short_is_dropped(tmp_path, whole, cut):
    path = tmp_path / 'journal.jsonl'
    lines = whole[1].splitlines(keepends=True)
    path.write_bytes(b''.join(lines[:23])[:-cut])
    journal = Journal(path, HEADER)
    assert path.read_bytes() == b''.join(lines[:22])
    assert len(journal.scores) == 21
    resume(path, 21, whole)


def test_stage_search_goes_on_too(tmp_path):
    path = tmp_path / 'deep' / 'journal.jsonl'
    candidates = stage_candidates('resnet', 16)
    header = {'kind': 'stages'}
    search_stages(Journal(path, header).score(lambda blocks: 1 / blocks[3]), candidates[:50])
    asked = []

    def score(blocks):
        asked.append(blocks)
        return 1 / blocks[3]

    ranking = search_stages(Journal(path, header).score(score), candidates)
    assert asked == candidates[50:]
    assert ranking == search_stages(lambda blocks: 1 / blocks[3], candidates)


def test_file_holds_the_header_and_a_line_per_architecture(tmp_path):
    path = tmp_path / 'journal.jsonl'
    journal = Journal(path, {'seed': 3})
    score = journal.score(lambda blocks: 0.1 + 0.2)
    assert score([1, 2]) == score((1, 2)) == 0.30000000000000004
    head, entry = map(json.loads, path.read_text().splitlines())
    assert head == {'format': 'mmic.journal', 'version': 1, 'seed': 3}
    assert entry.pop('seconds') == journal.seconds[1, 2]
    assert entry == {'architecture': [1, 2], 'score': 0.30000000000000004}
    assert journal.scores == Journal(path, {'seed': 3}).scores == {(1, 2): 0.30000000000000004}


def test_seconds_of_all_runs_are_kept(tmp_path):
    path = tmp_path / 'journal.jsonl'
    for architecture, wait in (((1,), 0.02), ((2,), 0.04)):
        journal = Journal(path, HEADER)
        journal.score(lambda blocks, wait=wait: time.sleep(wait) or 0.5)(architecture)
    assert journal.seconds.keys() == {(1,), (2,)}
    assert 0.02 <= journal.seconds[1,] < 0.5
    assert 0.04 <= journal.seconds[2,] < 0.5


def test_journal_without_seconds_is_continued(tmp_path):
    path = tmp_path / 'journal.jsonl'
    Journal(path, HEADER)
    with open(path, 'a') as file:
        file.write('{"architecture": [1], "score": 0.5}\n')
    journal = Journal(path, HEADER)
    assert (journal.scores, journal.seconds) == ({(1,): 0.5}, {})


def test_without_file_scores_are_kept_in_memory():
    journal = Journal(None, HEADER)
    score = Stopping()
    assert journal.score(score)((1, 2)) == journal.score(score)((1, 2))
    assert score.calls == 1


def test_other_processes_take_over_what_is_known(tmp_path, whole):
    path = tmp_path / 'journal.jsonl'
    path.write_bytes(whole[1])
    other = Journal(None, HEADER)
    other.scores = dict(Journal(path, HEADER).scores)
    assert greedy_ranking(other.score(Stopping(0)), NUM_BLOCKS) == whole[0]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'seed': 4}, "another search: 'seed' is 3 in it and 4 now"),
        ({'checkpoint': 'b.pth', 'seed': 4}, "'checkpoint' is 'supernet.pth' in it and 'b.pth'"),
        ({'choices': (1, 2)}, r"'choices' is \[1, 2, 3\] in it and \[1, 2\] now"),
        ({'k': 3}, "'k' is absent in it and 3 now"),
    ],
)
def test_journal_of_another_search_is_refused(tmp_path, whole, change, message):
    path = tmp_path / 'journal.jsonl'
    path.write_bytes(whole[1][:-5])
    with pytest.raises(ValueError, match=message) as raised:
        Journal(path, {**HEADER, **change})
    assert str(path) in str(raised.value)
    assert path.read_bytes() == whole[1][:-5]


def test_field_that_is_no_longer_in_the_header_is_refused(tmp_path):
    path = tmp_path / 'journal.jsonl'
    Journal(path, {'kind': 'stages', 'seed': None})
    with pytest.raises(ValueError, match="'seed' is None in it and absent now"):
        Journal(path, {'kind': 'stages'})
    Journal(path, {'seed': None, 'kind': 'stages'})


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{"architecture": [1, 2], "sco', 'line 3: expected'),
        ('', 'line 3: expected'),
        ('[]', 'line 3: expected'),
        ('[' * 100000, 'line 3: expected'),
        ('{"architecture": [1, 2]}', 'line 3: expected'),
        ('{"architecture": 12, "score": 0.5}', 'line 3: expected'),
        ('{"architecture": [1, 2.5], "score": 0.5}', 'line 3: expected'),
        ('{"architecture": [1, 2], "score": NaN}', r'line 3: The score of \(1, 2\) .*nan'),
        ('{"architecture": [1, 2], "score": "high"}', r'line 3: The score of \(1, 2\) .*high'),
        ('{"architecture": [1, 2], "score": 1' + '0' * 400 + '}', 'line 3: int too large'),
        ('{"architecture": [2], "score": 1, "seconds": -1}', 'line 3: seconds must be a number'),
        ('{"architecture": [2], "score": 1, "seconds": "1"}', 'line 3: seconds must be a number'),
        ('{"architecture": [1], "score": 0.75}', r'line 3: \(1,\) has score 0\.75, and 0\.5'),
    ],
)
def test_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / 'journal.jsonl'
    Journal(path, HEADER).score(lambda blocks: 0.5)((1,))
    text = path.read_text() + line + '\n{"architecture": [3], "score": 0.5}\n'
    path.write_text(text)
    with pytest.raises(BadFileError, match=message):
        Journal(path, HEADER)
    assert path.read_text() == text


@pytest.mark.parametrize('text', ['', 'model = 1', 'model = 1\nx', '{"format": "mmic.pattern"}\n'])
def test_file_of_another_kind_is_left_as_it_is(tmp_path, text):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(BadFileError, match='config.py: not the journal of a search'):
        Journal(path, HEADER)
    assert path.read_text() == text
    with pytest.raises(IsADirectoryError):
        Journal(tmp_path, HEADER)


def test_huge_file_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / 'journal.jsonl'
    Journal(path, HEADER)
    monkeypatch.setattr('mmic.search.journal.MAX_BYTES', 100)
    with pytest.raises(BadFileError, match='bytes; at most 100 are read'):
        Journal(path, HEADER)


def test_broken_score_is_not_written(tmp_path):
    path = tmp_path / 'journal.jsonl'
    journal = Journal(path, HEADER)
    with pytest.raises(ValueError, match=r'score of \(1, 2\) must be a finite number, got nan'):
        journal.score(lambda blocks: float('nan'))((1, 2))
    assert len(path.read_text().splitlines()) == 1
    assert journal.scores == {}


def test_header_must_be_json():
    with pytest.raises(TypeError, match='not JSON serializable'):
        Journal(None, {'seed': {1}})
