"""Checkpoints: read safely, find the weights in what trainers save, load strictly."""

from collections import Counter
from pathlib import Path
from typing import Any, Collection, Dict, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from mmic.log import print_log
from mmic.safe_load import StandIn, UnsafeFileError, check_kind, load_safely
from mmic.wrappers import WRAPPED

# Keys under which trainers save the weights, the first that is there is taken: mmengine, timm and
# Lightning; torchvision, DETR and YOLO; DeepSpeed; BasicSR. Averaged ones come last: under
# mmengine's `state_dict` they are averaged already where its EMAHook ran.
CONTAINERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network', 'module', 'params')
AVERAGED = ('state_dict_ema', 'model_ema', 'ema', 'params_ema')
# What stands in front of all names: of DDP, DataParallel and AveragedModel; and of a trainer's
# attribute that holds the network.
OUTER_WRAPPERS = ('module', 'model', 'net', 'network')
# What AveragedModel and mmengine's averages count with.
COUNTERS = ('n_averaged', 'steps')


def read_checkpoint(
    path: Union[str, Path],
    trust: bool = False,
    allowed: Optional[Mapping[Tuple[str, str], Any]] = None,
) -> Any:
    """Read a checkpoint without running code that it may carry.

    Args:
        path (str | Path): A file of ``torch.save``, ``.pth``, ``.pt`` or ``.ckpt`` for example.
        trust (bool): Unpickle whatever the file holds. Defaults to False: tensors and plain
            values; log histories and arguments of commands are skipped.
        allowed (Mapping, optional): More objects, see ``load_safely``. Defaults to None.

    Returns:
        What was saved, on the CPU; a dict as a rule, under ``trust`` it may be a whole model.

    Raises:
        OSError: The file is missing or cannot be opened.
        ValueError: Not a checkpoint, or it holds objects that are read under ``trust`` alone.
    """
    check_kind(path)
    try:
        if trust:
            return torch.load(path, map_location='cpu', weights_only=False)
        return load_safely(path, allowed)
    except UnsafeFileError as error:
        held = _whole_model(error.content) or error.names[0]
        raise ValueError(
            f'{path} cannot be read safely: it holds {held}, not tensors alone. If you trust its '
            'source, pass --trust-checkpoint; or save model.state_dict() where it was made.'
        ) from None
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f'{path} holds an object of a class that is not found here ({error}). Run where the '
            'class can be imported, or save model.state_dict() where the file was made.'
        ) from None
    # Whatever an unpickler may meet in a broken file.
    except Exception as error:
        first = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise ValueError(
            f'{path} cannot be read as a checkpoint; is it cut short? {first}'
        ) from None


def _whole_model(content: Any) -> Optional[str]:
    values = [content, *content.values()] if isinstance(content, dict) else [content]
    for value in values:
        if isinstance(value, StandIn) and value.is_model:
            return f'a whole pickled model, {type(value).__module__}.{type(value).__name__}'
    return None


def read_state_dict(
    path: Union[str, Path], model: Optional[nn.Module] = None, trust: bool = False
) -> Dict[str, Tensor]:
    """Read a checkpoint's tensors by the names of a network: see the functions that it calls."""
    return state_dict_of(read_checkpoint(path, trust), path, model)


def meta_of(checkpoint: Any) -> Dict[str, Any]:
    """What a checkpoint of mmengine's keeps under ``meta``; empty for others."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    return meta if isinstance(meta, dict) else {}


def state_dict_of(
    checkpoint: Any, path: Union[str, Path], model: Optional[nn.Module] = None
) -> Dict[str, Tensor]:
    """Return a checkpoint's tensors by name, without what trainers and wrappers put around them.

    Args:
        checkpoint: What a file holds: a state dict, a dict that has one (or a model) under one of
            ``CONTAINERS`` or ``AVERAGED``, or a whole model.
        path (str | Path): The file, for messages.
        model (nn.Module, optional): The network of the tensors: prefixes are taken away where its
            names ask for it. Defaults to None: those of DDP and torch.compile are taken away, and
            under Lightning the attribute that holds everything.

    Returns:
        dict[str, Tensor]

    Raises:
        ValueError: The file holds no state dict.
    """
    key, state = _weights_in(checkpoint)
    if key in AVERAGED:
        _note(f'{path}: the averaged weights, {key!r}, are taken; it holds no others.')
    elif isinstance(checkpoint, dict) and key is not None:
        averages = [name for name in AVERAGED if checkpoint.get(name) is not None]
        if averages:
            _note(f'{path}: {key!r} is taken, the averaged weights under {averages[0]!r} are not.')
    if isinstance(state, nn.Module):
        state = state.state_dict()
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f'{path} holds no state dict.')
    skipped = [name for name, value in state.items() if isinstance(value, StandIn)]
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = f' Its keys are {", ".join(map(repr, list(state)[:8]))}.' if state else ''
        raise ValueError(f'{path} holds no tensors.{keys}')
    if key is not None and skipped:
        raise ValueError(f'{path}: {skipped[0]!r} in its state dict is not a tensor.')
    lightning = isinstance(checkpoint, dict) and 'pytorch-lightning_version' in checkpoint
    names = None if model is None else model.state_dict().keys()
    return _without_prefix(_without_inner(tensors, names), names, lightning, path)


def _weights_in(checkpoint: Any) -> Tuple[Optional[str], Any]:
    """The key of the weights in a checkpoint and what it holds; no key where it is the weights."""
    if isinstance(checkpoint, dict):
        for key in CONTAINERS + AVERAGED:
            if isinstance(checkpoint.get(key), (dict, nn.Module)):
                return key, checkpoint[key]
        if isinstance(checkpoint.get('state_dict'), list):
            return 'state_dict', checkpoint['state_dict']
    return None, checkpoint


def _without_inner(
    tensors: Dict[str, Tensor], names: Optional[Collection[str]]
) -> Dict[str, Tensor]:
    """Take away what torch.compile, FSDP and checkpointing put into names."""

    def plain(name: str) -> str:
        if names is not None and name in names:
            return name
        return '.'.join(part for part in name.split('.') if part not in WRAPPED)

    return {plain(name): value for name, value in tensors.items()}


def _without_prefix(
    tensors: Dict[str, Tensor],
    names: Optional[Collection[str]],
    lightning: bool,
    path: Union[str, Path],
) -> Dict[str, Tensor]:
    counted = [name for name in tensors if name not in COUNTERS]
    prefix = ''
    if names is None:
        # Without a network to ask, a prefix is what every name has.
        while True:
            first = {name[len(prefix) :].partition('.')[0] for name in counted}
            if len(first) != 1 or not first <= {'module', *(OUTER_WRAPPERS if lightning else ())}:
                break
            prefix += f'{first.pop()}.'
    else:
        prefix = _best_prefix(counted, names, lightning)
    if not prefix:
        return tensors
    stripped = {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
    others = [name for name in counted if not name.startswith(prefix)]
    if others and not lightning:
        # Loading strictly tells that they are too many.
        stripped.update({name: tensors[name] for name in others})
    elif others:
        _note(f'{path}: {len(others)} tensors outside of {prefix}* are left, {others[0]} first.')
    return stripped


def _best_prefix(keys: Collection[str], names: Collection[str], lightning: bool) -> str:
    """The prefix without which the most keys are names of the network; none where that is best."""
    hits = Counter({'': sum(key in names for key in keys)})
    for key in keys:
        prefix, rest = '', key
        while '.' in rest:
            part, _, rest = rest.partition('.')
            # Lightning's users name the attribute that holds the network as they like.
            if part not in OUTER_WRAPPERS and not (lightning and prefix == ''):
                break
            prefix += f'{part}.'
            hits[prefix] += rest in names
    return max(hits, key=lambda prefix: (hits[prefix], -len(prefix)))


def load_strictly(
    module: nn.Module, state: Dict[str, Tensor], path: Union[str, Path], prefix: str = ''
) -> None:
    """Load a checkpoint, or a part of it, and raise where it is not exactly this module's.

    Args:
        module (nn.Module): The model, or a part of it.
        state (dict[str, Tensor]): The checkpoint's tensors; what lies outside ``prefix`` is left.
        path (str | Path): The file, for messages.
        prefix (str): Of the part's tensors in the checkpoint, ``'backbone.'`` for example.
            Defaults to ``''``.

    Raises:
        ValueError: A tensor too many or too few, or of another shape.
    """
    own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not own:
        raise ValueError(f'{path} holds no {prefix}* weights. Is it of this config?')
    try:
        result = module.load_state_dict(own, strict=False)
    except RuntimeError as error:  # shapes differ
        raise ValueError(f'{path} does not fit the network of the config: {error}') from None
    for keys, told in (
        (result.missing_keys, 'lacks'),
        (result.unexpected_keys, 'has, and the network of the config has not,'),
    ):
        if keys:
            named = ', '.join(prefix + key for key in keys[:5])
            more = f' and {len(keys) - 5} more' if len(keys) > 5 else ''
            raise ValueError(f'{path} {told} {named}{more}. Is it of this config?')


def _note(text: str) -> None:
    print_log(text, logger='current')
