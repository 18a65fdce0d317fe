"""Kinds of arguments that argparse has not."""

import argparse
from typing import Callable


def whole(least: int) -> Callable[[str], int]:
    """A ``type`` of argparse: whole numbers from ``least`` up.

    Args:
        least (int): The smallest that is taken.
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'must be a whole number, got {text!r}') from None
        if value < least:
            raise argparse.ArgumentTypeError(f'must be {least} or more, got {value}')
        return value

    return read
