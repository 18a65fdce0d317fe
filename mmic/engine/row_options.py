"""Settings that a row of results changes in its config: a mapping, and words of a command."""

import argparse
import re
from typing import Any, Dict, List, Sequence

from mmic.engine.config import add_config_options
from mmic.engine.options import option_word, parse_value

NAME = re.compile(r'\w+(\.\w+)*')
# Commas and brackets are how a command writes lists.
WORD = re.compile(r'[^\s,()\[\]{}\'"]+')


def check_options(options: Any) -> None:
    """Check the options of a row.

    Args:
        options (dict[str, Any]): Values by the place of a setting in the config: numbers, words,
            booleans, None and lists of them.

    Raises:
        ValueError: This is no dict, a name is none, or ``--cfg-options`` cannot take a value.
    """
    if not isinstance(options, dict):
        raise ValueError(f'expected settings by name, got {options!r}.')
    for name, value in options.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f'expected a name such as model.backbone.depth, got {name!r}.')
        if not _is_plain(value) or read_options(option_words({name: value})) != {name: value}:
            raise ValueError(
                f'{name}: expected a number, a word, true, false, null or a list of these, '
                f'got {value!r}.'
            )


def option_words(options: Dict[str, Any]) -> List[str]:
    """Write options as a command takes them, ``KEY=VALUE`` each."""
    return [option_word(name, value) for name, value in options.items()]


def read_options(words: Sequence[str]) -> Dict[str, Any]:
    """Read the words behind ``--cfg-options`` as a command does: the values by name."""
    if not words:
        return {}
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_plain, value))
    # A word that looks like a number: YAML takes 1e-3 for a word.
    if isinstance(value, str) and parse_value(value) != value:
        return False
    return not isinstance(value, dict) and bool(WORD.fullmatch(str(value)))
