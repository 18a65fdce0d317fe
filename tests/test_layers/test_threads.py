"""Work is shared by as many threads as torch has, torch's own where that is possible."""

import threading

import pytest
import torch

from mmic.layers import threads


@pytest.fixture(params=['openmp', 'pool'])
def runner(request, monkeypatch):
    if request.param == 'pool':
        monkeypatch.setattr(threads, '_openmp', lambda: None)
    elif threads._openmp() is None:
        pytest.skip('this torch does not run with the OpenMP library of GNU')


@pytest.mark.parametrize('count', [1, 2, 3, 10, 101])
@pytest.mark.parametrize('number', [1, 2, 5])
def test_every_part_is_done_once(runner, count, number, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: number)
    done = []
    threads.share(lambda offset, first, last: done.append((offset, first, last)), count, 7)
    assert len(done) == min(count, number)
    assert all(offset == 7 for offset, *_ in done)
    assert sorted(k for _, first, last in done for k in range(first, last)) == list(range(count))


def test_parts_run_side_by_side(runner, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    meeting = threading.Barrier(2, timeout=20)
    threads.share(lambda first, last: meeting.wait(), 2)


def test_errors_come_out(runner, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 3)

    def fail(first, last):
        if first:
            raise RuntimeError(f'part {first}')

    with pytest.raises(RuntimeError, match='part'):
        threads.share(fail, 9)


def test_torch_computes_afterwards(runner, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    threads.share(lambda first, last: None, 2)
    x = torch.ones(300, 300)
    assert (x @ x == 300).all()
