"""Inception convolution in any network: make it a supernet, or give it a searched pattern."""

import re

from mmic.layers import ICConv2d
from mmic.models.selection import searched_convs, selector
from mmic.pattern import DilationPattern, PatternError, is_published
from mmic.supernet import WideConv2d
from mmic.swap import named_convs, refusal, swap_convs
from mmic.wrappers import named_parts

# Methods that do not search every 3x3 convolution.
SOME_LAYERS = ('nats', 'cr_nas')


def to_supernet(model, d_max, select=None, embed=False):
    """Replace the searched convolutions by wide ones, in place.

    Args:
        model (nn.Module): Any network.
        d_max (int): Largest dilation; 3x3 kernels become ``2 d_max + 1`` wide.
        select (str | Sequence[str] | Callable, optional): Layers by regular expression, or a
            rule ``(name, conv) -> bool``. Defaults to None: all 3x3 convolutions.
        embed (bool): Keep the network's weights, at the centre of the wide kernels. Defaults
            to False: random over the whole kernel, as the paper trains it.

    Returns:
        nn.Module: ``model``.
    """
    rule = select if callable(select) else selector(select)
    searched_convs(model, rule)
    return swap_convs(model, lambda name, conv: WideConv2d.from_conv(conv, d_max, embed), rule)


def to_searched(model, pattern, select=None, part=None):
    """Give the searched convolutions the dilations of a pattern, in place; weights are kept.

    A convolution's own dilation, in place of a stride that its stage had in the search, multiplies
    the pattern's.

    Args:
        model (nn.Module): Any network.
        pattern (str | Path | DilationPattern): A pattern file, or a published one. Where the
            model has a submodule of the pattern's scope, names are relative to that.
        select (str | Sequence[str] | Callable, optional): The layers that the pattern must
            cover. Defaults to None: those that it names. NATS and CR-NAS search one kind of
            layer in some stages; of their patterns all layers of the kinds in the file are
            asked for.
        part (str, optional): Regular expression on the pattern's layers: take those alone, for a
            model that is a part of the searched one. Defaults to None: all of them.

    Returns:
        nn.Module: ``model``.

    Raises:
        PatternError: The pattern is broken or is another network's.
        ValueError: A layer that the pattern names is no plain convolution, see ``swap_convs``.
    """
    rule = select if callable(select) else selector(select)
    if not isinstance(pattern, DilationPattern):
        if is_published(pattern):
            convs = searched_convs(model, rule, dilated=True)
            pattern = DilationPattern.from_published(pattern, convs)
        else:
            pattern = DilationPattern.load(pattern)
    if part is not None:
        pattern = pattern.part(part)
    if pattern.method in SOME_LAYERS:
        rule = _of_same_kind(pattern.layers, rule)
    prefix = f'{pattern.scope}.' if _has_submodule(model, pattern.scope) else ''
    if select is None:
        convs = {
            name: conv
            for name, conv in named_convs(model)
            if _file_name(name, prefix) in pattern.layers
        }
    else:
        convs = searched_convs(model, rule, dilated=True)
    for name, conv in convs.items():
        problem = refusal(name, conv)
        if problem is not None:
            raise ValueError(problem)
    pattern.check({_file_name(name, prefix): conv for name, conv in convs.items()})

    def replace(name, conv):
        dilations = pattern.layers[_file_name(name, prefix)].dilations
        try:
            return ICConv2d.from_conv(conv, dilations)
        except ValueError as error:
            raise PatternError(f'{pattern.source}: layer {name!r}: {error}') from None

    return swap_convs(model, replace, lambda name, conv: name in convs)


def _of_same_kind(names, rule):
    """Restrict a rule to the kinds of layers among ``names``.

    ``layer2.0.conv2`` and ``layer2.3.conv2`` are of one kind: a pattern of a shallower network
    lacks some of a kind, and is told from one that was searched in some stages only.
    """

    def kind(name):
        return re.sub(r'\.\d+\.', '.*.', name)

    kinds = {kind(name) for name in names}
    return lambda name, conv: rule(name, conv) and kind(name) in kinds


def _has_submodule(model, name):
    return bool(name) and any(name == part for part, _, _ in named_parts(model))


def _file_name(name, prefix):
    """A layer's name in the pattern file; None for a layer outside the pattern's scope."""
    return name[len(prefix) :] if name.startswith(prefix) else None
