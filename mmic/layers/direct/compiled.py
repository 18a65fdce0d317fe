"""How the functions of this folder are compiled, and where the results are kept."""

import contextlib
from pathlib import Path
from typing import Any, Callable

from numba import njit

from mmic.layers.eager import NotCompiled

# fastmath without nnan and ninf: a training that diverges has to show NaN and infinity.
OPTIONS = dict(nogil=True, fastmath={'contract', 'reassoc', 'nsz'})
compiled = njit(**OPTIONS)


class Entry:
    """A compiled function that Python calls, kept on disk where there is a place for it.

    numba compiles at the first call and then reads or writes its cache, which may be a folder that
    cannot be written, a full disk or a file cut short: it is compiled without the cache then. The
    function itself raises nothing, so that whatever is raised is about its compilation.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        try:
            self.made = njit(cache=True, **OPTIONS)(function)
            _remove_old(self.made)
        # There is no folder that numba could write to.
        except (RuntimeError, OSError):
            self.made = njit(**OPTIONS)(function)

    def __call__(self, *arguments: Any) -> None:
        try:
            self.made(*arguments)
        except Exception:
            self._without_cache(*arguments)

    def _without_cache(self, *arguments: Any) -> None:
        made = njit(**OPTIONS)(self.function)
        try:
            made(*arguments)
        except Exception as error:
            raise NotCompiled(f'{type(error).__name__}: {error}') from error
        self.made = made


def entry(function: Callable) -> Entry:
    """Compile a function that Python calls."""
    return Entry(function)


def _remove_old(made: Any) -> None:
    """Remove what is older than any file of this folder.

    numba makes a function again when its own file has changed, not when one has that it calls
    functions from.
    """
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.glob('*.py'))
    for index in Path(made.stats.cache_path).glob(f'*.{made.__name__}-*.nbi'):
        # Another process may be faster; the file may be another user's.
        with contextlib.suppress(OSError):
            if index.stat().st_mtime < newest:
                index.unlink()
