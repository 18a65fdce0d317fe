"""What is wrong with a config, in one line that names the file and what would be right."""

import contextlib
import difflib
import inspect
import re
import traceback
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

from mmengine.config import Config
from mmengine.registry import MODELS, Registry

from mmic.analysis.plain import parameters_of

UNKNOWN_TYPE = re.compile(r"^'?(\S+) is not in the (\S+) registry")
WRONG_CALL = re.compile(r'unexpected keyword argument|required (positional|keyword-only) argument')
SUFFIXES = ('.py', '.yml', '.yaml', '.json')
SHOWN = 100  # letters of a value
OURS = Path(__file__).resolve().parents[1]


class ConfigError(ValueError):
    """A config that cannot be used; the message names it and what is wrong in it."""


def load_config(path: str) -> Config:
    """Read a config file.

    Raises:
        FileNotFoundError: There is no such config.
        ConfigError: It, or a config that it is based on, cannot be read.
    """
    if Path(path).is_dir():
        raise ConfigError(f'{path} is a folder, not a config file.')
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config file {path}.')
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(f'{path} is not a config: they end in {", ".join(SUFFIXES)}.')
    try:
        return Config.fromfile(path)
    # A config is a program: it may raise anything.
    except Exception as error:
        raise ConfigError(_unread(path, error)) from error


def _unread(path: str, error: Exception) -> str:
    text = _first_line(error)
    if isinstance(error, SyntaxError):
        line = f', line {error.lineno}' if error.lineno else ''
        return f'{path}{line}: {error.msg}: the config, or one that it is based on, is no Python.'
    if isinstance(error, ImportError):
        reason = _first_line(error.__cause__ or error)
        package = re.search(r"(?:import|module named) '?(\w+)", reason)
        named = package[1] if package else 'it'
        return f'{path}: {reason}. Install {named} (docs/install.md), or set PYTHONPATH.'
    if isinstance(error, FileNotFoundError):
        missing = error.filename or re.sub(r'file "(.*)" does not exist', r'\1', text)
        return f'{path} is based on {missing}, which is not there; see its _base_.'
    if '_get_package_and_cfg_path' in text:
        return f'{path}: a _base_ of the form PACKAGE::FILE names a package that is no mm* package.'
    if isinstance(error, AttributeError) and "'list' object" in text:
        return f'{path} is not a config: it holds a list, not settings by name.'
    # Of a line in a config itself.
    last = traceback.extract_tb(error.__traceback__)[-1]
    own = Path(last.filename).is_file() and 'site-packages' not in last.filename
    line = f'{last.filename}, line {last.lineno}: ' if own else ''
    return f'{path} cannot be read as a config: {line}{type(error).__name__}: {text}'


@contextlib.contextmanager
def config_errors(path: str, running: bool = False) -> Iterator[None]:
    """Tell what is wrong in a config while something is built from it.

    Args:
        path (str): The config's file.
        running (bool): Whether the network runs already: what it raises is then left as it is,
            and only what cannot be built for want of a type or by its arguments is told. Defaults
            to False.

    Raises:
        ConfigError: In place of an error that the config's values cause. Faults in mmic's own
            code are left as they are.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        told = _told(error, running)
        if told is None:
            raise
        raise ConfigError(f'{path}: {told}') from error


def _told(error: Exception, running: bool) -> Optional[str]:
    """What to say about an error; None where it is no fault of the config."""
    first = error
    # mmengine may raise an error again from every level of the config.
    while type(first.__context__) is type(first):
        first = first.__context__
    frames = traceback.extract_tb(first.__traceback__)
    file = Path(frames[-1].filename) if frames else Path()
    built = _built(first)
    unknown = UNKNOWN_TYPE.match(str(error))
    if isinstance(error, KeyError) and unknown:
        return _unknown_type(*unknown.groups())
    if isinstance(error, KeyError) and 'key "type"' in str(error):
        return f'{_first_line(first).partition("but got ")[2][:SHOWN]} has no `type`.'
    if built and isinstance(error, TypeError) and WRONG_CALL.search(str(error)):
        return _wrong_call(first, built)
    if running or isinstance(error, OSError):
        return None
    if isinstance(error, (ValueError, ImportError)):
        return _first_line(error)
    # Packages check values by KeyError and AssertionError too; of mmic's code it is a fault.
    if OURS in file.parents:
        return None
    kind = '' if isinstance(error, (KeyError, AssertionError)) else f'{type(error).__name__}: '
    return kind + _first_line(error)


def _built(error: BaseException) -> Optional[Callable[..., Any]]:
    """What a registry was about to build when an error came; None where it was built already."""
    found, frame = None, error.__traceback__
    while frame:
        name, code = frame.tb_frame.f_code.co_name, frame.tb_frame.f_code.co_filename
        if Path(code).name == 'build_functions.py':
            found = frame.tb_frame.f_locals.get('obj_cls', found)
        # A class hands on what it does not take itself to those that it extends.
        elif name != '__init__':
            found = None
        frame = frame.tb_next
    return found


def _wrong_call(error: TypeError, built: Callable[..., Any]) -> str:
    """Say which argument a class does not take, or asks for, and what it may have been meant."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if not unknown:
        return _first_line(error)
    functions = [base.__init__ for base in inspect.getmro(built)] if inspect.isclass(built) else []
    taken = dict.fromkeys(name for call in functions or [built] for name in parameters_of(call))
    close = difflib.get_close_matches(unknown[1], taken, 1)
    meant = f'did you mean {close[0]}?' if close else f'it takes {", ".join(taken)}.'
    return f'{built.__name__} takes no {unknown[1]}; {meant}'


def _unknown_type(name: str, registry: str) -> str:
    """Say what a type that is in no registry may have been meant to be."""
    scope, _, kind = registry.partition('::')
    told = f'no {kind or registry} is called {name!r}.'
    found = re.match(r'(\w+)\.', name)
    known = [key for child in _registries(MODELS) for key in child.module_dict]
    close = difflib.get_close_matches(name.rpartition('.')[2], known, 1)
    if close and kind == 'model':
        told = f'{told[:-1]}; did you mean {close[0]!r}?'
    package = found[1] if found else scope
    return (
        f'{told} If it is of {package} or of your own code, that has to be installed and named '
        'in custom_imports or default_scope.'
    )


def _registries(registry: Registry) -> Iterator[Registry]:
    yield registry
    for child in registry.children.values():
        yield from _registries(child)


def _first_line(error: BaseException) -> str:
    # The text of a KeyError has quotes around it.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]
