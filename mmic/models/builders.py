"""Registered functions that search any model: a neck, a head, a foreign backbone, a detector.

    backbone=dict(type='mmic.build_supernet', model=dict(type='mmdet.HRNet', ...), d_max=4)
    neck=dict(type='mmic.build_supernet', model=dict(type='mmdet.FPN', ...), genotypes=[1, 2, 3],
              num_groups=16)
    backbone=dict(type='mmic.build_searched', model=dict(type='mmdet.HRNet', ...), pattern='x.json')

They return the model itself, so keys, ``init_cfg`` and hooks never notice.
"""

from mmic.models.inception import to_searched, to_supernet
from mmic.models.nats import to_mixed
from mmic.registry import MODELS, register


@register(MODELS)
def build_supernet(
    model,
    d_max=None,
    select=None,
    genotypes=None,
    num_groups=None,
    channels_per_group=None,
    **arguments,
):
    """Build a model and make it a supernet of EDO or of NATS.

    Args:
        model (dict): Config of any model that OpenMMLab's registries build.
        d_max (int, optional): For EDO: the largest dilation; 3x3 kernels become ``2 d_max + 1``
            wide. Exactly one of ``d_max`` and ``genotypes`` is given.
        select (str | Sequence[str], optional): Regular expressions on layer names; a layer is
            searched when one matches from the start of its name. Defaults to None: all 3x3
            convolutions.
        genotypes (list | dict, optional): For NATS: the dilations to choose from, see
            ``mmic.models.nats.to_mixed``.
        num_groups (int, optional): For NATS: channel groups per layer.
        channels_per_group (int, optional): For NATS, in place of ``num_groups``.
        **arguments: Go to the model, over its config's own: a detector adds ``train_cfg``,
            ``test_cfg`` and ``num_classes`` to the config of its ``rpn_head``.

    Returns:
        nn.Module: The model; EDO's weights are random over the whole kernels until a checkpoint
        is loaded.

    Raises:
        ValueError: Both or neither of ``d_max`` and ``genotypes`` are given, no layer is chosen,
            or one has no dilation to choose; the message names it.
    """
    if (d_max is None) == (genotypes is None):
        raise ValueError(
            'build_supernet takes exactly one of d_max (EDO) and genotypes (NATS), got '
            f'd_max={d_max!r} and genotypes={genotypes!r}.'
        )
    if genotypes is not None:
        network = MODELS.build(dict(model, **arguments))
        return to_mixed(network, genotypes, num_groups, channels_per_group, select)
    return to_supernet(MODELS.build(dict(model, **arguments)), d_max, select)


@register(MODELS)
def build_searched(model, pattern, select=None, part=None, **arguments):
    """Build a model and give it a searched pattern.

    Args:
        model (dict): Config of any model that OpenMMLab's registries build.
        pattern (str): Pattern file.
        select (str | Sequence[str], optional): Layers that the pattern must cover. Defaults to
            None: those that the file names.
        part (str, optional): Regular expression: take these layers of the file alone, for a model
            that is a part of the searched one. Defaults to None: all of them.
        **arguments: Go to the model, over its config's own: a detector adds ``train_cfg``,
            ``test_cfg`` and ``num_classes`` to the config of its ``rpn_head``.

    Returns:
        nn.Module: The model.

    Raises:
        PatternError: The pattern is broken or is another network's.
    """
    return to_searched(MODELS.build(dict(model, **arguments)), pattern, select, part)
