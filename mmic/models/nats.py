"""NATS in a network: make it a supernet of mixed convolutions, or give it a searched pattern."""

from mmic.models.inception import to_searched
from mmic.models.selection import is_3x3, searched_convs, selector
from mmic.supernet import MixedConv2d
from mmic.supernet.genotypes import genotypes_of
from mmic.swap import named_convs, swap_convs

# The 3x3 convolutions in the middle of the bottlenecks of stages 3 to 5 (paper, section 4.3).
MIDDLE_CONVS = r'layer[234]\.\d+\.conv2$'


def to_mixed(model, genotypes, num_groups=None, channels_per_group=None, select=None, mode='auto'):
    """Replace the searched convolutions by sums of candidates, in place; weights are copied.

    Args:
        model (nn.Module): Any network.
        genotypes (str | list | dict): The candidate dilations: set ``'A'``, ``'B'`` or ``'C'``
            of the paper, which are given for the stages ``layer2`` to ``layer4``; or a list for
            all layers; or lists by stage.
        num_groups (int, optional): Channel groups per layer, N.
        channels_per_group (int, optional): C_out / N; exactly one of the two is given.
        select (str | Sequence[str] | Callable, optional): Layers by regular expression, or a
            rule ``(name, conv) -> bool``. Defaults to None: all 3x3 convolutions.
        mode (str): See ``mmic.supernet.MixedConv2d``. Defaults to ``'auto'``.

    Returns:
        nn.Module: ``model``.

    Raises:
        ValueError: No layer is chosen, or one has no dilation to choose or channels that the
            groups do not divide; the message names it.
    """
    rule = select if callable(select) else selector(select)
    searched_convs(model, rule)

    def replace(name, conv):
        try:
            return MixedConv2d.from_conv(
                conv,
                genotypes=genotypes_of(genotypes, name),
                num_groups=num_groups,
                channels_per_group=channels_per_group,
                mode=mode,
            )
        except ValueError as error:
            raise type(error)(f'Layer {name!r}: {error}') from None

    return swap_convs(model, replace, rule)


class NATSMixin:
    """Makes a backbone a NATS supernet or a searched network in its constructor.

    Args:
        genotypes (str | list | dict, optional): Build the supernet with these dilations to
            choose from: ``'A'``, ``'B'`` or ``'C'`` (the paper's default), a list for all layers,
            or lists by stage.
        num_groups (int, optional): Channel groups per layer, N (paper: 16 for ResNet-50).
        channels_per_group (int, optional): C_out / N (paper: 32 for ResNet-101 and ResNeXt).
            The supernet takes exactly one of both.
        pattern (str | Path | DilationPattern, optional): Build the searched network.
        select (str | Sequence[str], optional): Search other convolutions, by regular
            expressions. Defaults to None: the 3x3 convolutions in the middle of the bottlenecks
            of ``layer2`` to ``layer4``.
        mode (str): See ``mmic.supernet.MixedConv2d``. Defaults to ``'auto'``.
        *args, **kwargs: Of the mmdet class.

    Raises:
        ValueError: Both or neither of ``genotypes`` and ``pattern`` are given, the groups do not
            divide a layer's channels, or the network has no bottlenecks.
        PatternError: The pattern is broken or is another network's.
    """

    def __init__(
        self,
        *args,
        genotypes=None,
        num_groups=None,
        channels_per_group=None,
        pattern=None,
        select=None,
        mode='auto',
        **kwargs,
    ):
        name = type(self).__name__
        if (genotypes is None) == (pattern is None):
            raise ValueError(
                f'{name} takes exactly one of genotypes (the supernet) and pattern (the searched '
                f'network), got genotypes={genotypes!r} and pattern={pattern!r}.'
            )
        super().__init__(*args, **kwargs)
        if pattern is not None:
            to_searched(self, pattern, is_3x3)
            return
        if select is None and any(
            is_3x3(layer, conv) and layer.endswith('.conv1') for layer, conv in named_convs(self)
        ):
            raise ValueError(
                f'{name}: NATS searches the 3x3 convolution in the middle of a bottleneck, and '
                f'depth={kwargs.get("depth")} is made of basic blocks, which the paper does not '
                "cover. Pass select, for example select=r'layer[234]', to search theirs."
            )
        chosen = MIDDLE_CONVS if select is None else select
        to_mixed(self, genotypes, num_groups, channels_per_group, chosen, mode)
