"""Create a virtual environment with one of mmic's two pinned dependency stacks.

Run by ``make setup``. Needs only a Python interpreter, a C++ compiler and about 8 GB of
disk (the environment itself and pip's download cache). Running it again does nothing unless
a requirements file has changed. ``--relock`` writes the versions found in the environment to
``requirements/<stack>.lock``.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = {'current': ['3.11'], 'openmmlab': ['3.10', '3.11']}
FREE_GB = 8
# A stage line is "# stage: NAME | PIP OPTIONS".
STAGE = re.compile(r'^# stage: (?P<name>[^|]+?)\s*(?:\|\s*(?P<options>.*))?$')
# ninja prints "[17/186] c++ ..." for each file.
COMPILED = re.compile(r'\[(\d+/\d+)\]')


class SetupError(Exception):
    """A problem the user can solve; its text says how."""


def find_python(stack, wanted=None):
    """Return the interpreter to build on, or say which versions would do."""
    versions = PYTHONS[stack]
    names = [wanted] if wanted else [sys.executable] + [f'python{v}' for v in versions]
    found = []
    for name in names:
        path = shutil.which(name)
        if not path:
            continue
        query = 'import sys; print("%d.%d" % sys.version_info[:2])'
        result = subprocess.run([path, '-c', query], capture_output=True, text=True)
        version = result.stdout.strip()
        if version in versions:
            return path
        found.append(f'{path} ({version or "does not start"})')
    raise SetupError(
        f'The {stack} stack needs Python {" or ".join(versions)}; '
        f'found {", ".join(found) or "none"}. Install it and name it with '
        f'`make setup STACK={stack} PYTHON=/path/to/python{versions[0]}`.'
    )


def check_machine(venv, python):
    """Raise before the downloads for what would break gigabytes later."""
    query = (
        'import ensurepip, sysconfig, venv; from pathlib import Path; '
        'exit(not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists())'
    )
    if subprocess.run([python, '-c', query], capture_output=True).returncode:
        raise SetupError(
            f'{python} lacks its venv module or its headers (Python.h), and mmcv must be compiled. '
            'Debian has them in python3-venv and python3-dev of the same version.'
        )
    compiler = os.environ.get('CXX', 'g++')
    if not shutil.which(compiler):
        raise SetupError(
            f'No C++ compiler: {compiler!r} is not on the PATH, and mmcv must be compiled. '
            'Install one (Debian: `apt-get install g++`) or name yours in CXX.'
        )
    venv.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(venv.parent).free / 1e9
    if free < FREE_GB:
        raise SetupError(
            f'{venv.parent} has {free:.1f} GB free; a stack takes about 6 GB and its '
            f'downloads some more. Make {FREE_GB} GB free or choose another folder with VENV=...'
        )


def read_stages(path):
    """Split a requirements file into ``(name, pip options, requirements)``."""
    stages = []
    for line in path.read_text().splitlines():
        match = STAGE.match(line)
        if match:
            stages.append((match['name'], (match['options'] or '').split(), []))
        elif line and not line.startswith('#'):
            stages[-1][2].append(line)
    return stages


def run_showing_progress(command, title, log, env):
    """Run a command with its output in ``log`` and one line of progress on the terminal."""
    start = shown = time.time()
    interval = 1 if sys.stdout.isatty() else 30
    with open(log, 'a') as file:
        print(f'\n$ {" ".join(command)}', file=file, flush=True)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        detail, tail = '', []
        for line in process.stdout:
            file.write(line)
            file.flush()
            tail = (tail + [line.rstrip()])[-15:]
            match = COMPILED.search(line)
            if match:
                detail = f'compiled {match[1]}'
            elif line.startswith(('Collecting', 'Downloading', '  Downloading', 'Installing')):
                detail = line.strip()[:60]
            if time.time() - shown > interval:
                shown = time.time()
                end = '\r' if sys.stdout.isatty() else '\n'
                print(f'{title} {shown - start:4.0f} s  {detail:<70}', end=end, flush=True)
        code = process.wait()
    print(f'{title} {time.time() - start:4.0f} s  {"done" if code == 0 else "FAILED":<70}')
    if code:
        raise SetupError('\n'.join(tail) + f'\n\nThis step failed; the whole output is in {log}.')


def install(python, stack, log):
    """Install every stage of the stack, mmcv compiled and its operators checked."""
    requirements = ROOT / 'requirements' / f'{stack}.txt'
    lock = requirements.with_suffix('.lock')
    # Of all stages, lest a dependency of an early one brings a version that a later one rules out.
    constraints = ['-c', str(requirements)]
    constraints += ['-c', str(lock)] if lock.exists() else []
    env = dict(os.environ, MMCV_WITH_OPS='1', PYTHONUNBUFFERED='1')
    # mmcv's build looks for ninja and the compiler's helpers on the PATH.
    env['PATH'] = f'{Path(python).parent}{os.pathsep}{env["PATH"]}'
    stages = read_stages(requirements)
    for number, (name, options, names) in enumerate(stages, 1):
        pip = [python, '-m', 'pip', 'install', '-v', '--progress-bar=off', *constraints]
        title = f'[{number}/{len(stages) + 1}] {name}:'
        run_showing_progress(pip + options + names, title, log, env)
        if name.startswith('mmcv') and not loads_ops(python):
            # A wheel cached by pip may have been built against another torch.
            print('    mmcv.ops does not load; compiling again without the cache')
            again = ['--no-cache-dir', '--force-reinstall', '--no-deps']
            run_showing_progress(pip + options + again + names, title, log, env)
    editable = [python, '-m', 'pip', 'install', '-v', '--no-deps', '--no-build-isolation']
    title = f'[{len(stages) + 1}/{len(stages) + 1}] mmic:'
    run_showing_progress([*editable, '-e', str(ROOT)], title, log, env)


def loads_ops(python):
    """Whether mmcv's compiled operators load and run (mmcv imports without them)."""
    code = (
        'import torch; from mmcv.ops import nms; '
        'nms(torch.tensor([[0., 0, 1, 1]]), torch.ones(1), 0.5)'
    )
    return subprocess.run([python, '-c', code], capture_output=True).returncode == 0


def write_lock(python, stack):
    """Record the installed versions, so that the next install finds the same."""
    freeze = [python, '-m', 'pip', 'freeze', '--all', '--exclude', 'mmic', '--exclude-editable']
    lines = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    # A direct reference (name @ file:...) would name this machine.
    kept = [line for line in lines.splitlines() if '==' in line]
    path = ROOT / 'requirements' / f'{stack}.lock'
    header = f'# Written by `python tools/setup_env.py --stack {stack} --relock`.\n'
    path.write_text(header + '\n'.join(kept) + '\n')
    print(f'Wrote {path}')


def fingerprint(stack):
    """Hash what decides the content of an environment."""
    digest = hashlib.sha256(sys.version.encode())
    for suffix in ('.txt', '.lock'):
        path = ROOT / 'requirements' / f'{stack}{suffix}'
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--stack', choices=sorted(PYTHONS), default='current', help='default: current'
    )
    parser.add_argument('--venv', type=Path, help='default: .venv, or .venv-STACK for openmmlab')
    parser.add_argument('--python', help='interpreter to build on')
    parser.add_argument('--relock', action='store_true', help='write requirements/STACK.lock')
    args = parser.parse_args()
    default = '.venv' if args.stack == 'current' else f'.venv-{args.stack}'
    venv = (args.venv or ROOT / default).absolute()
    python = str(venv / 'bin' / 'python')
    stamp = venv / 'mmic-stack'
    wanted = fingerprint(args.stack)
    if stamp.exists() and stamp.read_text() == wanted and not args.relock:
        print(f'{venv} holds the {args.stack} stack already; nothing to do.')
        return
    base = find_python(args.stack, args.python)
    check_machine(venv, base)
    print(f'Installing the {args.stack} stack in {venv}: 5 minutes of downloads, and')
    print('7 to 8 minutes in which mmcv is compiled (on 2 cores; pip keeps the result).')
    subprocess.run([base, '-m', 'venv', str(venv)], check=True)
    stamp.unlink(missing_ok=True)
    log = venv / 'setup.log'
    install(python, args.stack, log)
    if not loads_ops(python):
        raise SetupError(f'mmcv was installed but its operators do not load; see {log}.')
    if args.relock:
        write_lock(python, args.stack)
    stamp.write_text(fingerprint(args.stack))
    print(f'Ready: {venv} (log: {log})')


if __name__ == '__main__':
    try:
        main()
    except (SetupError, OSError) as error:
        sys.exit(f'setup: {error}')
    except KeyboardInterrupt:
        sys.exit('\nsetup: interrupted; run the same command again to continue.')
