"""README and docs name only what exists; the repository holds only what belongs there."""

import argparse
import ast
import functools
import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ('*.md', 'docs/*.md', 'configs/**/*.md')
    for path in ROOT.glob(pattern)
)
MAX_KIB = 500
# Folders that commands make, and places of the reader's own.
OUTPUTS = ('work_dirs', 'data', 'data_generated', 'path', '.venv', '.venv-openmmlab')
SUFFIXES = ('md', 'py', 'json', 'sh', 'txt', 'lock', 'toml', 'yml', 'yaml', 'pth', 'png', 'pkl')
# Capitals stand for something to fill in, except in the names of these files.
NAMED_IN_CAPITALS = ('README', 'CONTRIBUTING', 'CHANGELOG', 'LICENSE', 'Makefile')
WRITING_FLAGS = ('--out', '--init-weights', '--show-dir', '--work-dir')
OTHER_PROGRAMS = ('pip', 'pre-commit', 'pytest', 'git')


class Page:
    """A page's code blocks, code spans, links and commands."""

    def __init__(self, name):
        self.name = name
        self.text = (ROOT / name).read_text()
        fence = re.compile(r'^```(\w*)\n(.*?)^```$', re.S | re.M)
        self.blocks = fence.findall(self.text)
        prose = fence.sub('', self.text)
        self.spans = [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', prose)]
        self.links = re.findall(r'\]\(([^)\s]+)\)', prose)
        shell = [text for language, text in self.blocks if language == 'bash']
        lines = '\n'.join(shell).replace('\\\n', ' ').splitlines()
        self.commands = [shlex.split(line, comments=True) for line in lines]
        self.commands += [span.split() for span in self.spans if ' ' in span]
        self.commands = [command for command in self.commands if command]

    def words(self):
        """Every word of code that may be a path."""
        words = [word for command in self.commands for word in command]
        words += [word for span in self.spans for word in span.split()]
        for _, text in self.blocks:
            words += re.findall(r'[\w./{}<>*-]+', text)
        return {word.strip('\'",;:()').rpartition('=')[2].strip('\'"') for word in words}


@functools.lru_cache(maxsize=None)
def page(name):
    return Page(name)


def is_placeholder(path):
    """Whether a path has parts to fill in, wildcards, or lies where outputs go."""
    if re.search(r'[<>*{}$|]|\.\.\.', path) or path.split('/')[0] in OUTPUTS:
        return True
    stems = [part.partition('.')[0] for part in path.split('/')]
    capitals = [stem for stem in stems if re.fullmatch('[A-Z_]{2,}', stem)]
    return any(stem not in NAMED_IN_CAPITALS for stem in capitals)


def is_path(word):
    """Whether a word of code names a file or folder of this repository."""
    if '::' in word or '//' in word or word.startswith(('-', '/', '~')):
        return False
    first = word.split('/')[0]
    if '/' in word:
        return first in ('.', '..') or (ROOT / first).is_dir()
    return word.rpartition('.')[2] in SUFFIXES and bool(re.fullmatch(r'[\w.-]+', word))


def exists(word, near):
    """Whether a path exists from the root, beside the page, or as a config of that name."""
    word = word.split('#')[0].rstrip('/').removeprefix('./')
    if (ROOT / word).exists() or (near / word).exists():
        return True
    # A command's or a config's bare name is enough to find it.
    folders = ('configs', 'docs', 'mmic', 'requirements', 'tests', 'tools')
    return '/' not in word and any(any((ROOT / top).rglob(word)) for top in folders)


@functools.lru_cache(maxsize=None)
def written():
    """Files that some command in the docs writes."""
    files = set()
    for name in PAGES:
        for command in page(name).commands:
            for flag, value in zip(command, command[1:]):
                if flag in WRITING_FLAGS:
                    files |= {value, Path(value).name}
        for _, text in page(name).blocks:
            saved = re.findall(r"\.save\('([^']+)'", text)
            files |= {*saved, *(Path(value).name for value in saved)}
    return files


@functools.lru_cache(maxsize=None)
def flags_of(tool):
    """The flags of a command's argument parser."""
    if tool.endswith('.sh'):
        tool = tool.replace('dist_', '').replace('.sh', '.py')
    parsers = []

    def stop(parser, *args, **kwargs):
        parsers.append(parser)
        raise SystemExit

    parse = mock.patch.object(argparse.ArgumentParser, 'parse_args', stop)
    argv = mock.patch.object(sys, 'argv', [tool])
    with parse, argv, pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / tool), run_name='__main__')
    flags = set(parsers[0]._option_string_actions)
    for action in parsers[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            for parser in action.choices.values():
                flags.update(parser._option_string_actions)
    return flags


def tools():
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.glob('tools/*.py')]
    return [name for name in names if 'ArgumentParser' in (ROOT / name).read_text()]


def repository_files():
    """Files under version control, and those that would be added."""
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard']
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('not a git working tree')
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_pages_are_found():
    expected = {'README.md', 'CONTRIBUTING.md', 'docs/chain.md', 'configs/ic_conv/README.md'}
    assert expected <= set(PAGES)


@pytest.mark.parametrize('name', PAGES)
def test_paths_in_code_exist(name):
    near = (ROOT / name).parent
    paths = {word for word in page(name).words() if is_path(word) and not is_placeholder(word)}
    missing = {word for word in paths - written() if not exists(word, near)}
    assert not missing


@pytest.mark.parametrize('name', PAGES)
def test_links_exist(name):
    for link in page(name).links:
        if link.startswith(('https://', 'http://', 'mailto:')):
            continue
        path, _, anchor = link.partition('#')
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            titles = re.findall(r'^#+ (.+)$', target.read_text(), re.M)
            slugs = [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]
            assert anchor in slugs, link


@pytest.mark.parametrize('name', PAGES)
def test_flags_exist(name):
    for command in page(name).commands:
        for position, word in enumerate(command):
            tool = re.fullmatch(r'(?:\./)?(tools/\w+\.(?:py|sh))', word)
            if not tool:
                continue
            used = {part.partition('=')[0] for part in command[position:] if part[:2] == '--'}
            assert used <= flags_of(tool[1]), f'{tool[1]} {used - flags_of(tool[1])}'
    known = set().union(*(flags_of(tool) for tool in tools()))
    # Flags that pip has are named without it where the text speaks of pip.
    known |= {'--no-deps', '--no-cache-dir', '--no-build-isolation'}
    for span in page(name).spans:
        if span.startswith('--'):
            named = {word.partition('=')[0] for word in span.split() if word.startswith('--')}
            assert named <= known, span


@pytest.mark.parametrize('name', PAGES)
def test_programs_and_make_targets_exist(name):
    targets = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.M))
    for command in page(name).commands:
        if command[0] == 'make':
            named = {word for word in command[1:] if '=' not in word}
            assert named <= targets, command
    for language, text in page(name).blocks:
        if language != 'bash':
            continue
        for line in text.replace('\\\n', ' ').splitlines():
            words = [word for word in shlex.split(line, comments=True) if '=' not in word]
            if words:
                program = words[0]
                known = ('python', 'make', *OTHER_PROGRAMS)
                assert program in known or (ROOT / program).is_file(), line


@pytest.mark.parametrize('name', PAGES)
def test_code_blocks_parse(name):
    for language, text in page(name).blocks:
        assert language, f'a code block without a language: {text[:40]!r}'
        if language == 'python':
            ast.parse(text)
        elif language == 'json':
            json.loads(text)
        elif language == 'bash':
            shlex.split(text.replace('\\\n', ' '), comments=True)


@pytest.mark.parametrize('name', PAGES)
def test_names_of_the_package_exist(name):
    from mmic.registry import MODELS

    python = [text for language, text in page(name).blocks if language == 'python']
    for text in page(name).spans + python:
        for dotted in re.findall(r'\bmmic(?:\.\w+)+', text):
            registered = dotted.count('.') == 1 and MODELS.get(dotted[len('mmic.') :])
            assert registered or resolves(dotted), dotted
        for module, names in re.findall(r'from (mmic[\w.]*) import ([\w, ]+)', text):
            for imported in names.split(','):
                assert resolves(f'{module}.{imported.strip()}'), imported


def resolves(dotted):
    """Whether a dotted name is a module, or an attribute of one."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, attribute = dotted.rpartition('.')
        return bool(module) and hasattr(importlib.import_module(module), attribute)
    return True


@pytest.mark.parametrize('name', PAGES)
def test_pinned_versions_are_the_requirements(name):
    pins = set()
    for path in ROOT.glob('requirements/*.txt'):
        pins |= set(re.findall(r'^[\w-]+==[\w.]+', path.read_text(), re.M))
    named = set(re.findall(r'[\w-]+==\d[\w.]*\w', page(name).text))
    assert named <= pins


def test_pre_commit_runs_the_pinned_ruff():
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    version = next(hook['rev'] for hook in hooks if hook['repo'].endswith('ruff-pre-commit'))
    for path in ROOT.glob('requirements/*.txt'):
        assert f'ruff=={version[1:]}\n' in path.read_text()


def test_readme_is_one_screenful_of_each_thing():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 170


def test_no_large_or_editor_files():
    for path in repository_files():
        assert path.stat().st_size <= MAX_KIB * 1024, path
        assert not path.name.endswith(('.swp', '.swo', '.DS_Store', '.pth')), path


def test_no_file_names_a_machine():
    # Put together here, so that this file does not hold them.
    places = '|'.join(['work', 'root', 'home', 'Users', 'mnt'])
    machine = re.compile(rf'(?<![\w.])/({places})/')
    for path in repository_files():
        content = path.read_bytes()
        if b'\0' not in content:
            found = machine.search(content.decode())
            assert not found, f'{path}: {content.decode()[found.start() :][:60]}'
