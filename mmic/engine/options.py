"""Values of ``--cfg-options``: read as MMDetection reads them, but for names of files, and written.

mmengine's ``DictAction`` takes spaces out of every value and splits it at commas, also where it
is the name of a file.
"""

import argparse
import os
import shlex
from typing import Any, List, Optional, Sequence

from mmengine.config import DictAction

QUOTES = '\'"'
CLOSING = {'[': ']', '(': ')'}


def parse_value(text: str) -> Any:
    """Read the value of a ``KEY=VALUE``.

    Args:
        text (str): A number, ``true``, ``false``, ``None``, a list ``a,b`` or ``[a,b]``, a tuple
            ``(a,b)``, or a word. Spaces in words are kept. What stands in quotes, and what is the
            name of a file that exists, is one word, commas and brackets included. A list in
            quotes is a list, as in mmengine.

    Returns:
        int | float | bool | None | str | list | tuple

    Raises:
        ValueError: Brackets or quotes do not match.
    """
    text = text.strip()
    quoted = len(text) > 1 and text[0] in QUOTES and text.find(text[0], 1) == len(text) - 1
    if quoted and not _in_brackets(text[1:-1]):
        return text[1:-1]
    if os.path.exists(text):
        return text
    text = text[1:-1] if quoted else text
    if _in_brackets(text):
        values = [parse_value(part) for part in _split(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    # Brackets in a name of a file need not match.
    parts = _split(text) if ',' in text or text[:1] in CLOSING else [text]
    if ',' in text and parts != [text]:
        return [parse_value(part) for part in parts]
    return DictAction._parse_int_float_bool(text)


def _outside(text: str) -> List[bool]:
    """Which letters lie outside of all brackets and quotes; closing ones do, opening ones not.

    Raises:
        ValueError: Brackets or quotes do not match.
    """
    outside, awaited, quote, before = [], [], '', ''
    for letter in text:
        if quote:
            quote = '' if letter == quote else quote
        elif letter in QUOTES and before in ('', ',', *CLOSING):
            quote = letter
        elif letter in CLOSING:
            awaited.append(CLOSING[letter])
        elif letter in CLOSING.values() and (not awaited or awaited.pop() != letter):
            raise ValueError(f'brackets do not match in {text!r}')
        before = letter if letter != ' ' else before
        outside.append(not awaited and not quote)
    if awaited or quote:
        raise ValueError(f'{"quotes" if quote else "brackets"} do not match in {text!r}')
    return outside


def _in_brackets(text: str) -> bool:
    """Whether one pair of brackets stands around all of a text."""
    if len(text) < 2 or CLOSING.get(text[0]) != text[-1]:
        return False
    return _outside(text).index(True) == len(text) - 1


def _split(text: str) -> List[str]:
    """Split at the commas outside of brackets and quotes; a last comma is of no part."""
    parts = ['']
    for letter, outside in zip(text, _outside(text)):
        if letter == ',' and outside:
            parts.append('')
        else:
            parts[-1] += letter
    return parts if parts[-1].strip() else parts[:-1]


def value_text(value: Any) -> str:
    """Write a value so that :func:`parse_value` reads it.

    Args:
        value (int | float | bool | None | str | list | tuple): The value.

    Raises:
        ValueError: It cannot be written, as a word that is a list in brackets.
    """
    if isinstance(value, (list, tuple)):
        comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
        text = ','.join(map(value_text, value)) + comma
        return f'({text})' if isinstance(value, tuple) else f'[{text}]'
    text = str(value)
    if isinstance(value, str) and (set(text) & set(f'{QUOTES} ,[]()') or parse_value(text) != text):
        quote = QUOTES[QUOTES[0] in text]
        text = f'{quote}{text}{quote}'
    if parse_value(text) != value:
        raise ValueError(f'no option of a config can be {value!r}')
    return text


def option_word(key: str, value: Any) -> str:
    """``KEY=VALUE`` as a command gets it behind ``--cfg-options``, a word of its own."""
    return f'{key}={value_text(value)}'


def option_told(key: str, value: Any) -> str:
    """The same as it is pasted into a shell."""
    return shlex.quote(option_word(key, value))


class ConfigOptions(argparse.Action):
    """The action of ``--cfg-options``: collects ``KEY=VALUE`` in a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: Optional[str] = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, equals, text = word.partition('=')
            if not equals or not key.strip():
                parser.error(f'{option_string} takes KEY=VALUE, got {word!r}')
            try:
                options[key.strip()] = parse_value(text)
            except ValueError as error:
                parser.error(
                    f'{option_string} {key}: {error}; put a name with commas or brackets in '
                    f'quotes: {shlex.quote(word.replace(text, repr(text)))}'
                )
        setattr(namespace, self.dest, options)
