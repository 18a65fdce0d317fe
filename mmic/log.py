"""mmengine's logging for modules that are used with torch alone: imported when there is a word."""

from typing import Any


def print_log(text: str, **options: Any) -> None:
    """Log a line as ``mmengine.logging.print_log`` does, which has the options."""
    from mmengine.logging import print_log

    print_log(text, **options)
