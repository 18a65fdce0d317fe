"""The set-up script: what it refuses, and when it has nothing to do."""

import importlib.util
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', ROOT / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_python(folder, version):
    path = folder / f'python{version}'
    path.write_text(f'#!/bin/sh\necho {version}\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(('stack', 'version'), [('current', '3.8'), ('openmmlab', '3.13')])
def test_wrong_python_is_refused_with_the_right_ones(setup_env, stack, version, tmp_path):
    path = fake_python(tmp_path, version)
    needed = {'current': '3.11', 'openmmlab': '3.10 or 3.11'}[stack]
    with pytest.raises(setup_env.SetupError, match=f'needs Python {needed}; found .*{version}'):
        setup_env.find_python(stack, path)


def test_right_python_is_taken(setup_env, tmp_path):
    path = fake_python(tmp_path, '3.11')
    assert setup_env.find_python('current', path) == path


def test_missing_compiler_headers_and_disk_are_named(setup_env, tmp_path, monkeypatch):
    venv = tmp_path / 'new' / 'venv'
    broken = tmp_path / 'python'
    broken.write_text('#!/bin/sh\nexit 1\n')
    broken.chmod(0o755)
    with pytest.raises(setup_env.SetupError, match=r'Python\.h'):
        setup_env.check_machine(venv, str(broken))
    works = tmp_path / 'works'
    works.write_text('#!/bin/sh\nexit 0\n')
    works.chmod(0o755)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(setup_env.SetupError, match=r"No C\+\+ compiler: 'no-such-compiler'"):
        setup_env.check_machine(venv, str(works))
    monkeypatch.setenv('CXX', str(works))
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(setup_env.shutil, 'disk_usage', lambda path: usage(0, 0, 2e9))
    with pytest.raises(setup_env.SetupError, match=r'2\.0 GB free; a stack takes about 6 GB'):
        setup_env.check_machine(venv, str(works))


@pytest.mark.parametrize('stack', ['current', 'openmmlab'])
def test_every_requirement_is_locked(setup_env, stack):
    """What a stage asks for stands in the lock, within the stage's bounds."""
    packaging = pytest.importorskip('packaging.requirements')
    lock = {}
    for line in (ROOT / 'requirements' / f'{stack}.lock').read_text().splitlines():
        if not line.startswith('#'):
            name, _, version = line.partition('==')
            lock[name.lower().replace('_', '-')] = version
    stages = setup_env.read_stages(ROOT / 'requirements' / f'{stack}.txt')
    assert [name for name, _, _ in stages][:2] == ['build tools', 'torch']
    for _, _, requirements in stages:
        for requirement in map(packaging.Requirement, requirements):
            version = lock[requirement.name.lower().replace('_', '-')]
            assert requirement.specifier.contains(version), (requirement, version)


def test_nothing_is_done_when_nothing_changed(setup_env, tmp_path):
    (tmp_path / 'mmic-stack').write_text(setup_env.fingerprint('current'))
    command = [sys.executable, str(ROOT / 'tools' / 'setup_env.py'), '--venv', str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert 'nothing to do' in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['mmic-stack']


def test_a_failed_step_says_where_its_output_is(setup_env, tmp_path):
    log = tmp_path / 'setup.log'
    command = [sys.executable, '-c', 'print("[3/9] c++"); raise SystemExit("no space")']
    with pytest.raises(setup_env.SetupError, match=r'no space(.|\n)*setup\.log'):
        setup_env.run_showing_progress(command, 'step:', str(log), None)
    assert '[3/9] c++' in log.read_text()
