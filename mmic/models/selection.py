"""Which convolutions of a network are searched."""

import difflib
import inspect
import re
from typing import Callable, Dict, List, Optional, Sequence, Union

from torch import nn

from mmic.layers.base_conv import check_base_conv
from mmic.layers.own_conv import OwnDilation
from mmic.swap import named_convs
from mmic.wrappers import named_parts

Rule = Callable[[str, nn.Conv2d], bool]
# Convolutions that are not searched, as a user may have meant them.
OTHER_CONVS = (nn.ConvTranspose2d, nn.Conv1d, nn.Conv3d)


def is_3x3(name: str, conv: nn.Conv2d) -> bool:
    """Whether the papers' rule "all 3x3 convolutions" means this one.

    The convolution that computes the offsets of a deformable one is no feature extractor; it
    is left alone unless it is named.
    """
    return tuple(conv.kernel_size) == (3, 3) and 'offset' not in name.rpartition('.')[2]


def selector(select: Optional[Union[str, Sequence[str]]] = None) -> Rule:
    """Turn a config's choice of layers into a rule for ``swap_convs``.

    Args:
        select (str | Sequence[str] | None): Regular expressions; a layer is chosen when one
            of them matches from the start of its name, ``'neck.fpn_convs'`` for example. 1x1
            convolutions have no dilation and are skipped. Defaults to None: all 3x3
            convolutions.

    Returns:
        Callable[[str, nn.Conv2d], bool]
    """
    if select is None:
        return is_3x3
    patterns = [re.compile(text) for text in ([select] if isinstance(select, str) else select)]

    def rule(name, conv):
        chosen = any(pattern.match(name) for pattern in patterns)
        return chosen and tuple(conv.kernel_size) != (1, 1)

    rule.select = [pattern.pattern for pattern in patterns]
    return rule


def searched_convs(model: nn.Module, rule: Rule, dilated: bool = False) -> Dict[str, nn.Conv2d]:
    """The convolutions to search, by name, each once under its first name, checked.

    Args:
        model (nn.Module): Any network.
        rule (Callable[[str, nn.Conv2d], bool]): Which to take.
        dilated (bool): Whether one may have a dilation of its own, which a search cannot count
            from and a pattern is multiplied by. Defaults to False.

    Returns:
        dict[str, nn.Conv2d]: In network order.

    Raises:
        ValueError: None is chosen, or one has no dilation to choose; the message names it.
    """
    first, convs = {}, {}
    for name, conv in named_convs(model):
        known = first.setdefault(id(conv), name)
        if rule(name, conv) and known not in convs:
            # A layer of mmic's is refused by its name, where it would be replaced.
            own = isinstance(conv.dilation, OwnDilation)
            rate = 1 if dilated or own else conv.dilation
            check_base_conv(conv.kernel_size, rate, conv.padding_mode, known)
            convs[known] = conv
    if not convs:
        raise ValueError(nothing_chosen(model, rule))
    return convs


def nothing_chosen(model: nn.Module, rule: Rule) -> str:
    """Say what a rule looked for in a network, and what there is instead.

    Args:
        model (nn.Module): The network, in which the rule chooses nothing.
        rule (Callable): A default (a function whose docstring says what it looks for), the result
            of ``selector``, or a function of the user's.
    """
    convs = {name: conv for name, conv in named_convs(model) if conv.kernel_size != (1, 1)}
    none = 'matches no convolution' if convs else 'matches no convolution larger than 1x1'
    select = getattr(rule, 'select', None)
    if select is not None:
        chosen = f'The choice of layers, select={select}, {none}'
        return f'{chosen}; {_matched(model, select)}{_there_are(model)}'
    if inspect.getmodule(rule) is not None and inspect.getmodule(rule).__name__[:5] == 'mmic.':
        looked = 'convolutions larger than 1x1' if '1x1' in rule.__name__ else '3x3 convolutions'
        return (
            f'The default choice of layers, all {looked}, {none}. {_there_are(model)} Name others '
            'with `select`, by regular expressions.'
        )
    return f'The choice of layers, a function, {none}. {_there_are(model)}'


def _matched(model: nn.Module, select: List[str]) -> str:
    """What else regular expressions match, or what the nearest names are."""
    layers = [(name, part) for name, _, part in named_parts(model) if not part._modules and name]
    kinds = {
        f'{type(part).__name__} {_size(part)}'.strip(): name
        for name, part in reversed(layers)
        if any(re.match(pattern, name) for pattern in select)
    }
    if kinds:
        named = ', '.join(f'{kind} ({name!r})' for kind, name in reversed(kinds.items()))
        return f'it matches {named}, which are not searched. '
    convs = [name for name, part in layers if isinstance(part, nn.Conv2d)]
    near = [name for pattern in select for name in difflib.get_close_matches(pattern, convs, 2)]
    told = f'; near are {", ".join(map(repr, near))}' if near else ''
    return f'no name of a layer begins so{told}. '


def _size(conv: nn.Module) -> str:
    return 'x'.join(map(str, getattr(conv, 'kernel_size', ()) or ()))


def _there_are(model: nn.Module) -> str:
    """The network's convolutions by size, with the name of the first."""
    sizes = {}
    for name, _, part in named_parts(model):
        if type(part).__module__.startswith('mmic.supernet.') and not isinstance(part, nn.Conv2d):
            return f'The network is a supernet already: {name!r} is {type(part).__name__}.'
        if isinstance(part, (nn.Conv2d, *OTHER_CONVS)):
            kind = '' if isinstance(part, nn.Conv2d) else f' {type(part).__name__}'
            sizes.setdefault(f'{_size(part)}{kind}', []).append(name)
    if not sizes:
        return 'The network has no convolutions.'
    told = ', '.join(f'{size} ({len(names)}, {names[0]!r} first)' for size, names in sizes.items())
    return f'The network has {told}.'
