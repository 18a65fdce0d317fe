"""fuse: the same outputs, nothing left to gather or normalise where that is exact; ONNX files."""

from collections import Counter

import pytest
import torch
from helpers import build_model, call_tool, load_state, run_python, write_detector_config
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmic.deploy import SupernetError, export_onnx, fuse, relative_difference, run_onnx
from mmic.layers import DOConv2d, ICConv2d, MaskedPSConv2d, PSConv2d, branches, ps_conv
from mmic.layers import fused_conv as fused_module
from mmic.layers.fused_conv import FusedConv2d, fused_conv, take_apart
from mmic.layers.selection import plan_selection
from mmic.models.convs import to_swapped
from mmic.models.inception import to_searched, to_supernet
from mmic.pattern import DilationPattern, LayerPattern
from mmic.swap import named_convs

FAMILIES = {
    'r18': ('ResNet', dict(depth=18, base_channels=16)),
    'r50': ('ResNet', dict(depth=50, base_channels=16)),
    'x50': ('ResNeXt', dict(depth=50, groups=32, base_width=4)),
    'mv2': ('MobileNetV2', dict(widen_factor=0.5)),
}
KINDS = ('sorted', 'position', 'mixed', 'ps', 'do')
# Of outputs' largest value.
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def backbone(family):
    """mmdet's plain backbone of a family."""
    backbones = pytest.importorskip('mmdet.models.backbones', reason='mmdet is not installed')
    name, arguments = FAMILIES[family]
    return getattr(backbones, name)(**arguments)


def randomise(network):
    """Random batch norm, biases and D': fresh ones hide errors."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        elif isinstance(module, DOConv2d):
            nn.init.normal_(module.depthwise, std=0.05)
    return network


def random_dilations(conv, kind):
    """Dilations of a layer, by kind of network."""
    if kind == 'mixed':
        # As NATS decodes: equal groups of channels, several of one candidate.
        chosen = torch.tensor([(1, 1), (2, 2), (1, 1), (1, 3)])[torch.randperm(4)]
        return chosen.repeat_interleave(-(-conv.out_channels // 4), 0)[: conv.out_channels]
    dilations = torch.randint(1, 4, (conv.out_channels, 2))
    if kind == 'position':
        return dilations
    return dilations[torch.argsort(dilations[:, 0] * 10 + dilations[:, 1])]


def dilated(network, kind):
    """Make a network one of ``KINDS``."""
    if kind == 'do':
        return to_swapped(network, dict(type='DOConv2d'))
    if kind == 'ps':
        narrow = any(conv.in_channels == conv.groups for _, conv in named_convs(network))
        return to_swapped(network, dict(type='PSConv2d', axes='group' if narrow else 'both'))
    layers = {
        name: LayerPattern(
            random_dilations(conv, kind), conv.kernel_size, conv.in_channels, conv.groups
        )
        for name, conv in named_convs(network)
        if conv.kernel_size == (3, 3)
    }
    return to_searched(network, DilationPattern(layers, 'edo'))


@torch.no_grad()
def run(network, *inputs):
    network.eval()
    return network(*inputs)


def image(size=64):
    return torch.randn(1, 3, size, size)


class Operators(TorchDispatchMode):
    """Counts the operators that run."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def plain_gathers(monkeypatch):
    """Gather all but consecutive channels by index_select, to count what is gathered."""

    def slice_alone(items, count):
        consecutive = items == list(range(items[0], items[0] + len(items)))
        return plan_selection(items, count) if consecutive else None

    monkeypatch.setattr(branches, 'plan_selection', slice_alone)
    monkeypatch.setattr(fused_module, 'plan_selection', slice_alone)
    monkeypatch.setattr(ps_conv, 'CyclicPlan', lambda *_: None)


def operators(network, x):
    """How often each operator runs in a forward."""
    with Operators() as operators, torch.no_grad():
        network(x)
    return operators.counts


def assert_same(network, fused, *inputs):
    assert relative_difference(run(network, *inputs), run(fused, *inputs)) < ROUNDING


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('family', FAMILIES)
def test_fused_networks_are_equal_and_originals_untouched(family, kind):
    network = randomise(dilated(backbone(family), kind))
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    flags = {name: module.training for name, module in network.named_modules()}
    types = {name: type(module) for name, module in network.named_modules()}
    fused = fuse(network)
    assert {name: module.training for name, module in network.named_modules()} == flags
    assert {name: type(module) for name, module in network.named_modules()} == types
    after = network.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert not any(module.training for module in fused.modules())
    assert not norms(fused)
    assert not any(type(module) in (ICConv2d, PSConv2d, DOConv2d) for module in fused.modules())
    x = image()
    assert_same(network, fused, x)
    counts = operators(fused, x)
    convs = sum(isinstance(module, nn.Conv2d) for module in fused.modules())
    assert counts['convolution'] == convs == operators(network, x)['convolution']


@pytest.mark.parametrize(
    ('family', 'kind', 'left'),
    [
        ('r18', 'sorted', 0),
        # The second convolution of each block is added to the residual.
        ('r18', 'position', 8),
        ('r50', 'position', 0),
        ('r50', 'mixed', 0),
        # Of four selections in a layer the two that shift channels stay.
        ('r50', 'ps', 2 * 16),
        # The stem's first convolution, between its dilations' order and its reader's.
        ('mv2', 'position', 1),
        ('mv2', 'do', 0),
    ],
)
def test_no_gather_is_left_where_its_order_can_be_absorbed(family, kind, left, plain_gathers):
    network = randomise(dilated(backbone(family), kind))
    x = image()
    before = operators(network.eval() or network, x)['index_select']
    after = operators(fuse(network), x)['index_select']
    assert after == left
    assert before > after or kind in ('sorted', 'do')


@pytest.mark.parametrize(
    ('family', 'kind'), [('r50', 'position'), ('r18', 'ps'), ('x50', 'mixed'), ('mv2', 'position')]
)
def test_onnx_files_agree(family, kind, tmp_path):
    onnx = pytest.importorskip('onnx', reason='onnx is not installed')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    network, x = randomise(dilated(backbone(family), kind)), image()
    fused, path = fuse(network), tmp_path / 'model.onnx'
    export_onnx(fused, x, path)
    expected = run(network, x)
    actual = run_onnx(path, x)
    assert len(actual) == len(expected)
    assert relative_difference(expected, actual) < 1e-4
    graph = onnx.load(str(path)).graph
    assert [output.name for output in graph.output] == [f'output{n}' for n in range(len(actual))]
    nodes = Counter(node.op_type for node in graph.node)
    assert nodes['Conv'] == sum(isinstance(module, nn.Conv2d) for module in fused.modules())
    assert not nodes['BatchNormalization']


def test_onnx_file_of_a_do_resnet50_has_the_plain_convolutions(tmp_path):
    onnx = pytest.importorskip('onnx', reason='onnx is not installed')
    plain, counts = backbone('r50'), []
    for name, network in ('plain', fuse(plain)), ('do', fuse(dilated(backbone('r50'), 'do'))):
        path = tmp_path / f'{name}.onnx'
        export_onnx(network, image(), path)
        counts.append(Counter(node.op_type for node in onnx.load(str(path)).graph.node))
    assert counts[0] == counts[1]
    assert counts[0]['Conv'] == 53


def test_state_dict_of_a_fused_do_network_is_the_plain_networks():
    network, plain, x = randomise(dilated(backbone('r50'), 'do')), backbone('r50'), image()
    fused = fuse(network, fold_bn=False)
    assert list(fused.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(fused.state_dict(), strict=True)
    assert_same(network, plain, x)


def test_orders_are_absorbed_around_kept_batch_norm(plain_gathers):
    network, x = randomise(dilated(backbone('r50'), 'position')), image()
    fused = fuse(network, fold_bn=False)
    assert len(norms(fused)) == 53
    assert not operators(fused, x)['index_select']
    assert_same(network, fused, x)


def test_state_dict_of_one_fused_network_loads_into_another():
    first, second = dilated(backbone('r50'), 'ps'), dilated(backbone('r50'), 'ps')
    other = fuse(second)
    other.load_state_dict(fuse(randomise(first)).state_dict(), strict=True)
    assert_same(first, other, image())


def test_fusing_again_changes_nothing():
    network, x = randomise(dilated(backbone('r18'), 'position')), image()
    fused = fuse(network)
    assert list(fuse(fused).state_dict()) == list(fused.state_dict())
    assert_same(fused, fuse(fused), x)


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'mobilenet_v2'])
@pytest.mark.parametrize('kind', ['position', 'do'])
def test_torchvision_networks(name, kind):
    models = pytest.importorskip('torchvision.models', reason='torchvision is not installed')
    network = randomise(dilated(getattr(models, name)(), kind))
    fused = fuse(network)
    assert not norms(fused)
    assert_same(network, fused, image(48))


def test_torch_and_mmengine_are_enough():
    """A network written by hand, with functional activations, where no host is installed."""
    printed = run_python("""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmcv', 'mmdet', 'mmpose', 'mmpretrain', 'torchvision'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Blocker())
import torch
from torch import nn
from mmic.deploy import fuse, relative_difference
from mmic.layers import DOConv2d, ICConv2d

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = DOConv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = ICConv2d(8, 8, 3, padding=1, dilations=[(1, 1), (2, 2)] * 4)
        self.third = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.head(self.third(torch.nn.functional.relu(self.second(x))).mean((2, 3)))

net = Net().eval()
nn.init.normal_(net.first.depthwise)
net.norm.running_mean.normal_()
x = torch.randn(2, 3, 16, 16)
fused = fuse(net)
print('DIFFERENCE', relative_difference(net(x), fused(x)))
print('UNSORTED', len(list(fused.second.buffers())), type(fused.norm).__name__)
""")
    assert float(printed.split('DIFFERENCE ')[1].split()[0]) < ROUNDING
    assert 'UNSORTED 0 Identity' in printed


def ic_conv(channels=8, groups=1):
    """A layer whose dilations alternate, so that its channels must be reordered."""
    dilations = [(1, 1), (2, 3)] * (channels // 2)
    return ICConv2d(channels, channels, 3, padding=1, groups=groups, dilations=dilations)


class Block(nn.Module):
    """conv1, bn1, relu, conv2, bn2, relu, conv3, with one thing in the way."""

    def __init__(self, obstacle=None):
        super().__init__()
        self.obstacle = obstacle
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = ic_conv(), nn.BatchNorm2d(8)
        groups = 2 if obstacle == 'grouped reader' else 1
        self.conv3 = nn.Conv2d(8, 8, 1, groups=groups)
        self.relu = nn.PReLU(8) if obstacle == 'activation with weights' else nn.ReLU()
        if obstacle == 'activation with weights':
            nn.init.uniform_(self.relu.weight)
        if obstacle == 'tied weight':
            self.conv3.weight = nn.Parameter(torch.randn(8, 8, 1, 1))
            self.tied = nn.Conv2d(8, 8, 1)
            self.tied.weight = self.conv3.weight
        if obstacle == 'hook':
            self.seen = []
            self.conv2.register_forward_hook(lambda *args: None)

    def forward(self, image):
        x = self.conv2(self.relu(self.bn1(self.conv1(image))))
        y = self.relu(self.bn2(x))
        if self.obstacle == 'second reader':
            return self.conv3(y) + x
        if self.obstacle == 'residual':
            return self.conv3(y + 1) + y
        if self.obstacle == 'weight read':
            return self.conv3(y) + self.conv2.weight.mean((1, 2, 3))[:, None, None]
        if self.obstacle == 'called twice':
            return self.conv3(y) + self.bn2(y)
        if self.obstacle == 'tied weight':
            return self.conv3(y) + self.tied(torch.cat([image, image, image[:, 1:]], 1))
        if self.obstacle == 'split':
            return self.conv3(torch.cat([y[:, 4:], y[:, :4]], 1))
        return self.conv3(y)


@pytest.mark.parametrize(
    ('obstacle', 'norms_left', 'gathers'),
    [
        (None, 0, 0),
        ('second reader', 1, 1),
        ('residual', 0, 1),
        ('grouped reader', 0, 1),
        ('activation with weights', 0, 1),
        ('weight read', 1, 3),
        ('called twice', 1, 1),
        ('tied weight', 0, 1),
        ('split', 0, 1),
    ],
)
def test_what_others_can_see_stays(obstacle, norms_left, gathers, plain_gathers):
    network, x = randomise(Block(obstacle)), image(12)
    fused = fuse(network)
    assert_same(network, fused, x)
    assert len(norms(fused)) == norms_left
    assert operators(fused, x)['index_select'] == gathers


def test_a_layer_with_hooks_is_named():
    with pytest.raises(ValueError, match="'conv2' carries hooks"):
        fuse(Block('hook'))


def test_a_hook_on_a_container_sees_what_it_saw():
    network, seen = Block(), []
    network.conv2 = nn.Sequential(network.conv2)
    network.conv2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    fused = fuse(randomise(network))
    assert_same(network, fused, image(12))
    assert relative_difference(*seen[-2:]) < ROUNDING


class SharedConv(nn.Module):
    """One convolution with two norms, as in RTMDet's head, and another called twice."""

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)) for _ in range(2)
        )
        self.levels[1][0] = self.levels[0][0]
        self.conv, self.norm = nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return [self.norm(self.conv(level(x))) for level in self.levels]


def test_shared_convolutions():
    network = randomise(SharedConv())
    fused = fuse(network)
    assert_same(network, fused, image(12))
    assert len(norms(fused)) == 2
    assert fused.levels[0][0] is fused.levels[1][0]
    assert isinstance(fused.norm, nn.Identity)


class Level(nn.Module):
    """A convolution and its norm."""

    def __init__(self, conv):
        super().__init__()
        self.conv, self.norm = conv, nn.BatchNorm2d(conv.out_channels)

    def forward(self, x):
        return self.norm(self.conv(x))


class Levels(nn.Module):
    """Levels that share a convolution, in code that tracing cannot follow."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 4, 1)
        self.levels = nn.ModuleList([Level(conv), Level(conv), Level(nn.Conv2d(3, 4, 1))])

    def forward(self, x):
        return [level(x) for level in self.levels if x.sum() > -1e9]


def test_shared_convolutions_seen_one_at_a_time():
    network = randomise(Levels())
    fused = fuse(network)
    assert_same(network, fused, image(12))
    assert [isinstance(level.norm, nn.Identity) for level in fused.levels] == [False, False, True]


class Walker(nn.Module):
    """Code that tracing cannot follow, which uses what lies between the layers it walks over."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), ic_conv(), nn.ReLU(), nn.Conv2d(8, 8, 1)
        )
        self.block = Block()

    def forward(self, x):
        outputs = [self.block(x)]
        for layer in self.layers:
            x = layer(x)
            if x.sum() > -1e9:  # depends on values
                outputs.append(x)
        return outputs


def test_inside_code_that_cannot_be_followed(plain_gathers):
    network, x = randomise(Walker()), image(12)
    fused = fuse(network)
    assert_same(network, fused, x)
    # The block is folded by itself, the layers walked over are left as they are.
    assert [name for name, m in fused.named_modules() if m in norms(fused)] == ['layers.1']
    assert operators(fused, x)['index_select'] == 1


class Caller(nn.Module):
    """A black box as a child: what comes before and after it can still be followed."""

    def __init__(self):
        super().__init__()
        self.first, self.box, self.last = Block(), Walker(), nn.Conv2d(8, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.stem = nn.Conv2d(3, 3, 1)
        self.stem_norm = nn.BatchNorm2d(3)

    def forward(self, x, flag=True, scale=None):
        x = self.stem_norm(self.stem(x))
        return self.norm(self.last(self.first(x))), self.box(x)


def test_around_code_that_cannot_be_followed():
    network, x = randomise(Caller()), image(12)
    fused = fuse(network)
    assert_same(network, fused, x)
    assert [name for name, m in fused.named_modules() if m in norms(fused)] == ['box.layers.1']


class Moody(nn.Module):
    """Can be followed for some arguments alone."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x, ask):
        x = self.block(x)
        return x * 2 if ask and x.sum() > 0 else x


class Asker(nn.Module):
    """Calls one module in a way that can be followed, and in another that cannot."""

    def __init__(self):
        super().__init__()
        self.moody, self.last = Moody(), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(self.moody(x, False)), self.moody(x, True)


def test_a_module_that_can_be_followed_at_times(plain_gathers):
    network, x = randomise(Asker()), image(12)
    fused = fuse(network)
    assert_same(network, fused, x)
    assert not norms(fused)
    assert not operators(fused, x)['index_select']


LAYERS = {
    'dense': lambda: ic_conv(16),
    'grouped': lambda: ic_conv(16, groups=4),
    'depthwise': lambda: ic_conv(16, groups=16),
    'one dilation': lambda: ICConv2d(16, 16, 3, padding=1, dilations=[(2, 1)] * 16),
    'ps': lambda: PSConv2d(16, 16, 3, padding=1),
    'ps grouped': lambda: PSConv2d(16, 16, 3, padding=1, groups=2),
    'ps uneven': lambda: PSConv2d(10, 14, 3, padding=1),
    'ps reordered': lambda: PSConv2d(10, 13, 3, padding=1, pattern=(1, 2, 3, 2)),
    'ps input': lambda: PSConv2d(16, 16, 3, padding=1, axes='input'),
    'ps output': lambda: PSConv2d(16, 16, 3, padding=1, axes='output'),
    'ps depthwise': lambda: PSConv2d(16, 16, 3, padding=1, groups=16, axes='group'),
    'ps sum': lambda: PSConv2d(16, 16, 3, padding=1, form='sum'),
    'masked': lambda: MaskedPSConv2d(16, 16, 3, padding=1),
    'strided': lambda: PSConv2d(16, 16, 5, stride=2, padding=2, bias=False),
}


@pytest.mark.parametrize('name', LAYERS)
def test_a_layer_in_any_order_of_channels(name):
    layer = LAYERS[name]().double()
    x = torch.randn(2, layer.in_channels, 13, 11, dtype=torch.double)
    expected = run(layer, x)
    torch.testing.assert_close(run(fused_conv(layer), x), expected)
    into, out = torch.randperm(layer.in_channels), torch.randperm(layer.out_channels)
    permuted = fused_conv(layer, into.tolist(), out.tolist())
    torch.testing.assert_close(run(permuted, x[:, into]), expected[:, out])
    # In the order in which it computes them, the outputs are not gathered.
    ordered = fused_conv(layer, None, take_apart(layer).order)
    assert isinstance(ordered, nn.Conv2d) or ordered._unsort is None
    assert isinstance(ordered, nn.Conv2d) == (name == 'one dilation')


@pytest.mark.parametrize('kind', ['r50', 'mv2'])
def test_a_supernet_is_refused(kind, tmp_path):
    network = to_supernet(backbone(kind), d_max=2)
    name = 'layer1.0.conv2' if kind == 'r50' else 'conv1.conv'
    with pytest.raises(SupernetError, match=f"'{name}' is a WideConv2d"):
        fuse(network)
    with pytest.raises(SupernetError, match=f"'{name}' is a WideConv2d"):
        export_onnx(network, image(), tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


def test_diverged_weights_are_named():
    network = dilated(backbone('r18'), 'do')
    with torch.no_grad():
        network.layer1[0].conv1.weight[0, 0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match="'layer1.0.conv1': the weights hold NaN"):
        fuse(network)


def test_a_single_layer_and_frozen_weights():
    layer = DOConv2d(4, 8, 3)
    layer.weight.requires_grad_(False)
    nn.init.normal_(layer.depthwise)
    fused = fuse(layer)
    assert type(fused) is nn.Conv2d
    assert not fused.weight.requires_grad
    assert_same(layer, fused, torch.randn(1, 4, 8, 8))
    assert isinstance(fuse(ic_conv()), FusedConv2d)


def test_outputs_that_are_not_finite_never_agree():
    good, bad = torch.ones(2), torch.tensor([1, float('nan')])
    assert relative_difference([good], (good,)) == 0
    assert relative_difference(good, bad) == float('inf')
    assert relative_difference(bad, bad) == float('inf')
    with pytest.raises(ValueError, match='cannot be compared'):
        relative_difference(good, [good, good])


def detector(tmp_path, name, **changes):
    """A detector of mmdet's, thin, with every 3x3 convolution dilated."""
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    init_default_scope('mmdet')
    cfg = Config.fromfile(write_base(tmp_path, name))
    cfg.merge_from_dict(changes)
    return randomise(MODELS.build(cfg.model))


def write_base(folder, name):
    path = folder / 'base.py'
    path.write_text(f"_base_ = 'mmdet::{name}'\n")
    return path


def predict(model, x):
    from mmdet.structures import DetDataSample

    size = tuple(x.shape[2:])
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1, 1)))
    results = run(model, x, [sample], 'predict')[0].pred_instances
    return [results.bboxes, results.scores]


def test_a_two_stage_detector(tmp_path, plain_gathers):
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    model = build_model(write_detector_config(tmp_path / 'config.py', tmp_path, type='PSResNet'))
    to_searched(
        model,
        DilationPattern(
            {
                name: LayerPattern([(1, 1), (2, 1)] * (conv.out_channels // 2))
                for name, conv in named_convs(model)
                if name.startswith(('neck.fpn_convs', 'rpn_head.rpn_conv'))
            },
            'edo',
        ),
    )
    fused, x = fuse(randomise(model)), image(96)
    assert not norms(fused)
    # Outputs of the FPN and of the convolution that all levels share keep their order.
    assert operators(fused.neck.fpn_convs[0], torch.randn(1, 16, 8, 8))['index_select'] == 1
    assert_same(model.backbone, fused.backbone, x)
    with torch.no_grad():
        features = model.extract_feat(x), fused.extract_feat(x)
        heads = model.rpn_head(features[0]), fused.rpn_head(features[0])
    assert relative_difference(*features) < ROUNDING
    assert relative_difference(*heads) < ROUNDING
    assert relative_difference(predict(model, x), predict(fused, x)) < 1e-3


def test_rtmdet_shares_its_convolutions_still(tmp_path):
    model = detector(
        tmp_path,
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        **{'model.backbone.init_cfg': None, 'model.backbone.widen_factor': 0.125},
        **{'model.neck.in_channels': [32, 64, 128], 'model.neck.out_channels': 16},
        **{'model.bbox_head.in_channels': 16, 'model.bbox_head.feat_channels': 16},
    )
    to_swapped(model, dict(type='DOConv2d'))
    fused, x = fuse(randomise(model)), image(64)
    left = [name for name, m in fused.named_modules() if m in norms(fused)]
    assert left
    assert all(name.startswith('bbox_head') for name in left)
    head = fused.bbox_head
    assert head.cls_convs[0][0].conv is head.cls_convs[1][0].conv
    with torch.no_grad():
        first, second = model.eval() or model, fused
        outputs = [m.bbox_head(m.extract_feat(x)) for m in (first, second)]
    assert relative_difference(*outputs) < ROUNDING


def test_a_block_with_deformable_convolutions():
    backbones = pytest.importorskip('mmdet.models.backbones', reason='mmdet is not installed')
    pytest.importorskip('mmcv.ops', reason='mmcv was built without operators')
    network = backbones.ResNet(
        50,
        base_channels=8,
        with_cp=True,
        dcn=dict(type='DCNv2', deform_groups=1),
        stage_with_dcn=(False, False, False, True),
    )
    fused = fuse(randomise(network))
    # The norms behind the three deformable convolutions.
    assert len(norms(fused)) == 3
    assert_same(network, fused, image())


def test_mmcvs_own_way_around_batch_norm():
    cnn = pytest.importorskip('mmcv.cnn', reason='mmcv is not installed')
    arguments = dict(norm_cfg=dict(type='BN'), efficient_conv_bn_eval=True)
    network = nn.Sequential(
        cnn.ConvModule(3, 8, 3, **arguments), cnn.ConvModule(8, 8, 1, **arguments)
    )
    fused, x = fuse(randomise(network)), image(12)
    assert not norms(fused)
    assert_same(network, fused, x)
    network[1].conv = ICConv2d(8, 8, 3, dilations=[[1, 1], [2, 1]] * 4, bias=False)
    network[1].bn.train(False)
    assert_same(network, fuse(network), x)


@pytest.fixture
def trained(tmp_path):
    """A tiny DO-Conv detector's config, and a checkpoint of it as mmengine writes one."""
    pytest.importorskip('mmdet', reason='mmdet is not installed')
    config = write_detector_config(
        tmp_path / 'config.py', tmp_path, type='ResNet', conv_cfg=dict(type='DOConv2d')
    )
    model = randomise(build_model(config))
    content = {
        'state_dict': model.state_dict(),
        'meta': {'dataset_meta': {'classes': ('near_red',)}},
        'optimizer': {},
    }
    torch.save(content, tmp_path / 'trained.pth')
    return config, tmp_path / 'trained.pth', model


def test_the_command(trained, tmp_path):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    config, checkpoint, model = trained
    out = tmp_path / 'out'
    command = [config, checkpoint, '--out', out, '--shape', 64, 96, '--onnx']
    done = call_tool('deploy.py', *command)
    assert done.code == 0, done.text
    for told in ('of features: ', 'of rpn_head: ', 'of the ONNX file: ', '64 x 96'):
        assert told in done.text
    x = torch.randn(1, 3, 64, 96)
    fused = fuse(build_model(config))
    fused.load_state_dict(load_state(out / 'fused.pth'), strict=True)
    assert_same(model.backbone, fused.backbone, x)
    assert relative_difference(run(model.backbone, x), run_onnx(out / 'model.onnx', x)) < 1e-4
    content = torch.load(out / 'fused.pth', weights_only=False)
    assert content['meta']['dataset_meta'] == {'classes': ('near_red',)}
    before = (out / 'fused.pth').read_bytes()
    again = call_tool('deploy.py', *command)
    assert again.code == 1
    assert 'fused.pth exists and is kept; pass --overwrite' in again.text
    assert (out / 'fused.pth').read_bytes() == before
    replaced = call_tool('deploy.py', *command, '--overwrite', '--keep-bn', '--scope', 'backbone')
    assert replaced.code == 0, replaced.text
    plain = write_detector_config(tmp_path / 'plain.py', tmp_path, type='ResNet')
    plain = build_model(plain)
    plain.load_state_dict(load_state(out / 'fused.pth'), strict=True)
    assert_same(model.backbone, plain.backbone, x)


def test_the_command_names_what_is_wrong(trained, tmp_path):
    config, checkpoint, model = trained
    out = ['--out', tmp_path / 'out', '--shape', 64, 64]

    def message(*arguments):
        done = call_tool('deploy.py', *arguments, *out)
        assert done.code == 1, done.text
        return done.text

    state = model.state_dict()
    weight = state.pop('backbone.layer1.0.conv1.weight')
    torch.save({'state_dict': state}, tmp_path / 'lacking.pth')
    assert 'lacks backbone.layer1.0.conv1.weight' in message(config, tmp_path / 'lacking.pth')
    state = {**model.state_dict(), 'backbone.extra': weight}
    torch.save({'state_dict': state}, tmp_path / 'more.pth')
    assert 'backbone.extra' in message(config, tmp_path / 'more.pth')
    narrower = ['--cfg-options', 'model.rpn_head.feat_channels=8']
    assert 'does not fit the network' in message(config, checkpoint, *narrower)
    assert "the model has no 'nekc'; it has" in message(
        config, checkpoint, '--onnx', '--scope', 'nekc'
    )
    supernet = write_detector_config(tmp_path / 's.py', tmp_path, type='ICResNet', d_max=2)
    torch.save(build_model(supernet).state_dict(), tmp_path / 's.pth')
    assert "'backbone.layer1.0.conv1' is a WideConv2d" in message(supernet, tmp_path / 's.pth')
    assert not (tmp_path / 'out').exists()


def test_a_wrong_onnx_file_is_not_kept(trained, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    config, checkpoint, _ = trained

    def perturbed(path, x):
        return [output + 0.01 * output.abs().max() for output in run_onnx(path, x)]

    monkeypatch.setattr('mmic.deploy.run_onnx', perturbed)
    arguments = [config, checkpoint, '--out', tmp_path / 'out', '--onnx', '--shape', 64, 64]
    done = call_tool('deploy.py', *arguments)
    assert done.code == 1
    assert 'differs by more than' in done.text
    assert not list((tmp_path / 'out').iterdir())
