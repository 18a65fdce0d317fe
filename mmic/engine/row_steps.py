"""Complete the commands of a chain before they run: folders of tests, the place of the data."""

import dataclasses
from pathlib import Path

from mmic.engine.options import option_word
from mmic.engine.reproduce import load_config

DATA = 'data/'  # where configs and commands expect all data sets
# Parts of a config that name data.
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg')
EVALUATORS = ('val_evaluator', 'test_evaluator')
TRAIN, TEST, SPLIT = 'tools/train.py', 'tools/test.py', 'tools/coco_split.py'


def with_flags(command, *flags):
    """Add flags to a command, before its ``--cfg-options``, which come last."""
    place = command.index('--cfg-options') if '--cfg-options' in command else len(command)
    return (*command[:place], *flags, *command[place:])


def with_options(command, options):
    """Add ``KEY=VALUE`` to a command's ``--cfg-options``."""
    if not options:
        return command
    return (*command, *(() if '--cfg-options' in command else ('--cfg-options',)), *options)


def option(command, name):
    """The word behind a flag, None without the flag."""
    return command[command.index(name) + 1] if name in command else None


def data_options(cfg, data_root):
    """Options that make a config read another folder than ``data/``.

    Args:
        cfg (Config): A config whose data sets lie below ``data/``.
        data_root (str): The folder in its place.

    Returns:
        list[str]: ``KEY=VALUE`` for every path of a data set.
    """
    options = []

    def visit(value, place):
        if isinstance(value, dict):
            value = value.items()
        elif isinstance(value, (list, tuple)):
            value = enumerate(value)
        else:
            if isinstance(value, str) and value.startswith(DATA):
                options.append(option_word(place, f'{data_root}/{value[len(DATA) :]}'))
            return
        for key, item in value:
            visit(item, f'{place}.{key}')

    for name in (*LOADERS, *EVALUATORS):
        visit(cfg.get(name), name)
    return options


def test_folder(command):
    """Work dir of a test, beside the checkpoint that it reads."""
    _, config, checkpoint = command[:3]
    return (Path(checkpoint).parent / f'test_{Path(config).stem}').as_posix()


def real_steps(steps, data_root=None, flags=()):
    """Complete the steps of a row: each test gets its folder, all the place of the data.

    Args:
        steps (list[Step]): What ``steps_of`` returns.
        data_root (str, optional): In place of ``data``. Defaults to None: ``data``.
        flags (Sequence[str]): Further flags of every training.

    Returns:
        list[Step]
    """
    done = []
    for step in steps:
        command, writes = step.command, step.writes
        if data_root:
            command = tuple(_moved(word, data_root) for word in command)
            writes = tuple(_moved(word, data_root) for word in writes)
            if step.config:
                options = data_options(load_config(step.config), data_root)
                command = with_options(command, options)
        if command[0] == TEST:
            command = with_flags(command, '--work-dir', test_folder(command))
        elif command[0] == TRAIN:
            command = with_flags(command, *flags)
        done.append(dataclasses.replace(step, command=command, writes=writes))
    return done


def _moved(word, data_root):
    return f'{data_root}/{word[len(DATA) :]}' if word.startswith(DATA) else word
