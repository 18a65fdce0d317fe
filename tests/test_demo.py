"""Every chain of the demo from end to end, on a few images and for one epoch."""

import json

import pytest
from helpers import run_tool

from mmic.pattern import DilationPattern


@pytest.mark.slow
@pytest.mark.parametrize(
    ('method', 'networks', 'steps'),
    [
        ('edo', ['plain', 'supernet', 'searched'], ['supernet', 'search', 'searched']),
        ('nats', ['plain', 'searched'], ['split', 'search', 'decode', 'searched', 'test']),
        ('cr', ['plain', 'searched'], ['stage_search', 'operation_search', 'searched']),
    ],
)
def test_demo(tmp_path, method, networks, steps):
    """The searched network is trained with the pattern that the chain's own search has found."""
    work, data = tmp_path / 'work', tmp_path / 'data'
    printed = run_tool(
        'demo.py', method, '--smoke', '--work-dir', work, '--data-root', data, timeout=900
    )
    results = json.loads((work / 'results.json').read_text())
    assert list(results['networks']) == networks
    assert set(steps) <= set(results['seconds'])
    plain, searched = (results['networks'][name] for name in ('plain', 'searched'))
    if method == 'cr':
        # Blocks moved between stages: other parameters, equal multiply-adds up to norms.
        assert abs(plain['backbone MACs'] / searched['backbone MACs'] - 1) < 0.02
    else:
        assert plain['params'] == searched['params']
        assert plain['backbone MACs'] == searched['backbone MACs']
    pattern = DilationPattern.load(work / 'pattern.json')
    assert pattern.method == {'edo': 'edo', 'nats': 'nats', 'cr': 'cr_nas'}[method]
    config = next((work / 'searched').glob('*.py')).read_text()
    assert (work / 'pattern.json').as_posix() in config
    for picture in ('pattern.png', 'detections.png'):
        assert (work / picture).read_bytes().startswith(b'\x89PNG')
    assert 'The searched network, of' in printed
