"""How the functions of this folder are compiled, and where the results are kept."""

import contextlib
from pathlib import Path

from numba import njit

# Not all of it: NaN and infinity have to stay what they are.
OPTIONS = dict(nogil=True, fastmath={'contract', 'reassoc', 'nsz'})
compiled = njit(**OPTIONS)


def entry(function):
    """Compile a function that Python calls, and keep the result on disk.

    numba makes it again when the function's own file has changed, not when one has that it calls
    functions from; so what is older than any file here is removed.
    """
    made = njit(cache=True, **OPTIONS)(function)
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.glob('*.py'))
    for index in Path(made.stats.cache_path).glob(f'*.{function.__name__}-*.nbi'):
        with contextlib.suppress(FileNotFoundError):  # another process may be faster
            if index.stat().st_mtime < newest:
                index.unlink()
    return made
