"""Layers against ``nn.Conv2d`` of the same shape, beside what else widens a receptive field."""

import statistics

import torch
from torch import nn

from mmic.analysis.bench_naive import ConcatenatedIC, EinsumDO, SummedPS
from mmic.analysis.bench_pattern import made_dilations, widths_of
from mmic.analysis.bench_table import Measured
from mmic.analysis.benchmark import forward, forward_backward, interleaved_medians, saved_bytes
from mmic.deploy import fuse
from mmic.layers import DOConv2d, ICConv2d, PSConv2d
from mmic.supernet import MixedConv2d, WideConv2d
from mmic.supernet.genotypes import GENOTYPES
from mmic.supernet.mixed_conv import MODES

# Channels of conv2 in ResNet-50's four stages, whose maps are 1/4 to 1/32 of the image.
WIDTHS = (64, 128, 256, 512)
BATCH = 2
MULTIPLE = 16
FUSED = ('IC', f'IC, multiple {MULTIPLE}', 'PS, block form', 'DO')


def stage_shapes(image):
    """Shapes (N, C, H, W) of the input of conv2 in ResNet-50's stages, by the image's side."""
    sides = (image // stride for stride in (4, 8, 16, 32))
    return [(BATCH, width, side, side) for width, side in zip(WIDTHS, sides)]


class Deformable(nn.Module):
    """mmcv's modulated deformable convolution, which reads channels_last as if it were not."""

    def __init__(self, conv):
        super().__init__()
        from mmcv.ops import ModulatedDeformConv2dPack

        channels = conv.in_channels, conv.out_channels
        options = {'padding': 1, 'groups': conv.groups, 'bias': False}
        self.op = ModulatedDeformConv2dPack(*channels, 3, **options)
        self.op.weight.data.copy_(conv.weight.data)

    def forward(self, x):
        return self.op(x.contiguous())


def rf_search(conv):
    """mmcv's RF-Next operator with the settings of its paper's example: dilations 1 and 2."""
    from mmcv.cnn.rfsearch import Conv2dRFSearchOp

    config = dict(num_branches=3, exp_rate=0.5, mmin=1, mmax=24, init_alphas=0.01)
    return Conv2dRFSearchOp(conv, config, verbose=False)


def conv3x3(channels, dilation=1, groups=1):
    options = {'padding': dilation, 'dilation': dilation, 'groups': groups}
    return nn.Conv2d(channels, channels, 3, bias=False, **options)


def other_layers(plain):
    """What a user may pick instead: name to layer, or to why there is none."""
    channels = plain.in_channels
    dilated = conv3x3(channels, 2, plain.groups)
    dilated.weight.data.copy_(plain.weight.data)
    layers = {
        'plain': plain,
        'plain, dilation 2': dilated,
        'plain, 9x9': WideConv2d.from_conv(plain, 4),
    }
    for name, build in (('deformable v2', Deformable), ('RF search', rf_search)):
        try:
            layers[f'{name} (mmcv)'] = build(plain)
        except ImportError:
            layers[f'{name} (mmcv)'] = 'mmcv is missing'
    return layers


def make_layers(channels, dilations, groups=1):
    """All layers of one width to time; they hold the weights of the first, the plain one.

    Args:
        channels (int): C_in and C_out.
        dilations (list[Tensor]): Dilations of the IC layers, (C_out, 2) each.
        groups (int): Groups of all layers. Defaults to 1; with more, the published forms are left
            out.

    Returns:
        dict[str, list[nn.Module] | str]: By row; several layers are summed up by their geometric
        mean. A string tells why there is none.
    """
    plain = conv3x3(channels, groups=groups)
    rows = other_layers(plain)
    published = {'IC': lambda: [ConcatenatedIC(plain, each) for each in dilations]}
    published.update(PS=lambda: SummedPS(plain), DO=lambda: EinsumDO(plain))

    def add_published(name):
        made = published[name]() if groups == 1 else 'not with groups'
        rows[f'{name}, published form'] = made

    add_published('IC')
    rows['IC'] = [ICConv2d.from_conv(plain, each) for each in dilations]
    blocks = made_dilations(channels, MULTIPLE, groups)
    rows[f'IC, multiple {MULTIPLE}'] = ICConv2d.from_conv(plain, blocks)
    add_published('PS')
    for form in ('block', 'sum'):
        rows[f'PS, {form} form'] = PSConv2d.from_conv(plain, form=form)
    add_published('DO')
    rows['DO'] = DOConv2d.from_conv(plain)
    return {name: [made] if isinstance(made, nn.Module) else made for name, made in rows.items()}


def in_bottleneck(layer):
    """1x1 convolutions around a layer, as a bottleneck has them: they can take over its orders."""
    around = [nn.Conv2d(layer.in_channels, layer.in_channels, 1, bias=False) for _ in range(2)]
    return nn.Sequential(around[0], layer, around[1])


def add_fused(rows):
    """Add what ``fuse`` makes of the layers within a bottleneck, the 1x1 convolutions left out."""
    fused = {f'{name}, fused': [fuse(in_bottleneck(x))[1] for x in rows[name]] for name in FUSED}
    return {**rows, **fused}


def place_layer(setting, layer):
    """Place a layer; mmcv's deformable one stays contiguous."""
    if isinstance(layer, Deformable):
        setting = setting._replace(layout='contiguous')
    return setting.place(layer)


def time_rows(rows, run, x, setting, title):
    """Median seconds of each row's layers, or the string that stands there."""
    functions, refused = {}, {}
    for name, layers in rows.items():
        for number, layer in enumerate([] if isinstance(layers, str) else layers):
            try:
                function = run(place_layer(setting, layer), x)
                function()
            except RuntimeError:
                # Only mmcv's operators may lack a dtype or a device.
                if '(mmcv)' not in name:
                    raise
                refused[name] = f'not in {setting.dtype} on {setting.device}'
            else:
                functions[name, number] = function
    medians = interleaved_medians(functions, setting.repeats, setting.device, title)
    times = {}
    for name, layers in rows.items():
        if isinstance(layers, str) or name in refused:
            times[name] = refused.get(name, layers)
        else:
            times[name] = statistics.geometric_mean(
                medians[name, number] for number in range(len(layers))
            )
    return times


def bench_layers(setting, pattern=None):
    """Time every layer at ``stage_shapes``, inference and training step.

    Args:
        setting (Setting): What to run on.
        pattern (str | Path, optional): Pattern file, of mmic or published, whose layers the IC
            layers of their width get. Defaults to None: ``made_dilations``.

    Returns:
        list[Measured]

    Raises:
        PatternError: The pattern is broken or has no layer of some width.
        ValueError: Channels that the groups do not divide, or too few in a group for a layer.
    """
    shapes = [setting.shape] if setting.shape else stage_shapes(setting.image)
    dilations = widths_of(pattern, [shape[1] for shape in shapes], setting.groups)
    tables = []
    for kind, run in (('forward', forward), ('forward + backward', forward_backward)):
        table = Measured(f'layers: {kind}', 'plain', 's', list(map(str, shapes)), {})
        for shape in shapes:
            rows = make_layers(shape[1], dilations[shape[1]], setting.groups)
            rows = add_fused(rows) if run is forward else rows
            x = setting.place(torch.randn(shape))
            for name, value in time_rows(rows, run, x, setting, f'{table.name}, {shape}').items():
                table.rows.setdefault(name, []).append(value)
        tables.append(table)
    return tables


def bench_nats(setting):
    """Time the modes of the NATS supernet's layer, and count what is kept for backward.

    Args:
        setting (Setting): What to run on.

    Returns:
        list[Measured]
    """
    stages = dict(zip(('layer2', 'layer3', 'layer4'), stage_shapes(setting.image)[1:]))
    times = Measured('nats: forward + backward', 'plain', 's', list(stages), {})
    kept = Measured('nats: kept for backward', 'plain', 'bytes', list(stages), {})
    for stage, shape in stages.items():
        plain = conv3x3(shape[1])
        options = {'genotypes': GENOTYPES['C'][stage], 'num_groups': 16}
        layers = {mode: MixedConv2d.from_conv(plain, mode=mode, **options) for mode in MODES}
        layers = {'plain': plain, **layers}
        x = setting.place(torch.randn(shape))
        functions = {
            name: forward_backward(setting.place(layer), x) for name, layer in layers.items()
        }
        medians = interleaved_medians(
            functions, setting.repeats, setting.device, f'{times.name}, {stage}'
        )
        for name, layer in layers.items():
            times.rows.setdefault(name, []).append(medians[name])
            kept.rows.setdefault(name, []).append(float(saved_bytes(layer, x)))
    return [times, kept]
