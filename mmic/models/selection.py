"""Which convolutions of a network are searched."""

import re

from mmic.layers.base_conv import check_base_conv
from mmic.swap import named_convs


def is_3x3(name, conv):
    """Whether the papers' rule "all 3x3 convolutions" means this one.

    The convolution that computes the offsets of a deformable one is no feature extractor; it
    is left alone unless it is named.
    """
    return tuple(conv.kernel_size) == (3, 3) and 'offset' not in name.rpartition('.')[2]


def selector(select=None):
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

    return rule


def searched_convs(model, rule, dilated=False):
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
            rate = 1 if dilated else conv.dilation
            check_base_conv(conv.kernel_size, rate, conv.padding_mode, known)
            convs[known] = conv
    if not convs:
        raise ValueError('The choice of layers matches no convolution larger than 1x1.')
    return convs
