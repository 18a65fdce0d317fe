"""Make a folder of data as a whole, find that it is there already, and replace no other folder."""

import json
import tempfile
from pathlib import Path

from mmic.files import check_folder


def make_folder(root, marker, parameters, write, maker, overwrite=False):
    """Make a folder, unless it is there with the same parameters.

    It appears under its name only when it is complete.

    Args:
        root (Path): The folder. Missing parents are made.
        marker (str): Name of the file in it that holds the parameters.
        parameters (dict): What decides about the content, in values that JSON keeps.
        write (Callable[[Path], None]): Fills the empty folder that it is given.
        maker (str): Who makes such folders, for messages.
        overwrite (bool): Whether to replace a folder of other parameters. Defaults to False.

    Returns:
        Path: ``root``.

    Raises:
        FileExistsError: See :func:`is_made`.
        OSError: Nothing can be written there.
    """
    if is_made(root, marker, parameters, maker, overwrite):
        return root
    check_folder(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as work:
        made = Path(work, 'made')
        made.mkdir()
        write(made)
        (made / marker).write_text(json.dumps(parameters, indent=1) + '\n')
        if root.exists():
            # Renamed away first: a folder half deleted must not be found under the name.
            root.rename(Path(work, 'old'))
        made.rename(root)
    return root


def is_made(root, marker, parameters, maker, overwrite=False):
    """Whether a folder was made with these parameters; arguments as of :func:`make_folder`.

    Returns:
        bool: False where there is no folder, an empty one, or one that may be replaced.

    Raises:
        FileExistsError: ``root`` holds something else, or what was made with other parameters
            and ``overwrite`` is False.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / marker).read_text())
    except (OSError, ValueError):
        raise FileExistsError(
            f'{root} exists and was not made by {maker} (no readable {marker} in it), so it is '
            'never replaced; choose another folder.'
        ) from None
    if found == parameters:
        return True
    if not overwrite:
        changed = [
            f'{name} {found.get(name)} (asked for: {value})'
            for name, value in parameters.items()
            if found.get(name) != value
        ]
        raise FileExistsError(
            f'{root} holds what {maker} made with {", ".join(changed)}; pass --overwrite '
            '(overwrite=True) to replace it.'
        )
    return False
