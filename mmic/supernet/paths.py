"""Paths through a single-path supernet: which choice each of its parts runs.

A path is what the stand-alone network takes: its ``stage_blocks`` in a supernet of stages, its
``dilations``, one per block, in a supernet of operations. MobileNetV2's stem and tail, which have
no choice, are units of both and have 1.
"""

from mmic.supernet.choice import Choice


def choice_modules(model):
    """The parts of a supernet that have a choice, by name, in network order.

    Args:
        model (nn.Module): A backbone, or a model that holds one.

    Raises:
        ValueError: There are none.
    """
    modules = {name: part for name, part in model.named_modules() if isinstance(part, Choice)}
    if not modules:
        raise ValueError(
            f'{type(model).__name__} has no choices: it is no single-path supernet. Give its '
            "backbone search='stage' or search='operation'."
        )
    return modules


def fixed_units(model):
    """Units of a path before and after those with a choice, ``(0, 0)`` but for MobileNetV2."""
    found = (part.fixed_units for part in model.modules() if hasattr(part, 'fixed_units'))
    return next(found, (0, 0))


def check_path(model, path):
    """Check a path, and return each part that has a choice with its entry.

    Args:
        model (nn.Module): A supernet.
        path (Sequence[int]): See the module.

    Returns:
        list[tuple[str, nn.Module, int]]: Name, part and choice.

    Raises:
        ValueError: A path of another length or outside the choices; the message names the part.
    """
    modules = choice_modules(model)
    before, after = fixed_units(model)
    length = before + len(modules) + after
    if not isinstance(path, (list, tuple)) or len(path) != length:
        raise ValueError(f'A path through this supernet has {length} entries, got {path!r}.')
    entries = [tuple(entry) if isinstance(entry, list) else entry for entry in path]
    ends = entries[:before] + entries[length - after :]
    if ends != [1] * len(ends):
        raise ValueError(
            f'path {list(path)}: the first {before} and the last {after} units are fixed and '
            'must be 1.'
        )
    matched = [
        (name, part, entry) for (name, part), entry in zip(modules.items(), entries[before:])
    ]
    for name, part, entry in matched:
        try:
            part.check_choice(entry)
        except ValueError as error:
            raise ValueError(f'path {list(path)}: {name or "the model"}: {error}') from None
    return matched


def set_path(model, path):
    """Make a supernet run a path from now on; arguments and errors as of ``check_path``."""
    for _, part, entry in check_path(model, path):
        part.select(entry)


def sample_path(model, generator):
    """Draw a path, each choice uniformly and for itself. It is not set.

    Args:
        model (nn.Module): A supernet.
        generator (random.Random): What to draw with.

    Returns:
        tuple[int, ...]
    """
    choices = [generator.choice(module.choices) for module in choice_modules(model).values()]
    return _with_fixed_units(model, choices)


def default_path(model):
    """The path that is the plain network: the baseline's blocks, or dilation 1 throughout."""
    return _with_fixed_units(model, [part.default for part in choice_modules(model).values()])


def path_weights(model, path):
    """Weights of the stand-alone network of a path.

    Args:
        model (nn.Module): A supernet, as it was trained.
        path (Sequence[int]): See the module.

    Returns:
        dict[str, Tensor]: State dict of the same model with ``stage_blocks=path``; of a supernet
        of operations with its ``stage_blocks`` and ``dilations=path``.

    Raises:
        ValueError: As of ``check_path``.
    """
    state = model.state_dict()
    for name, part, entry in check_path(model, path):
        prefix = f'{name}.' if name else ''
        state = {key: value for key, value in state.items() if not key.startswith(prefix)}
        state.update({f'{prefix}{key}': value for key, value in part.weights_of(entry).items()})
    return state


def _with_fixed_units(model, choices):
    before, after = fixed_units(model)
    return (1,) * before + tuple(choices) + (1,) * after
