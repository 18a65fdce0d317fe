"""Networks that nobody prepared: torchvision's, the docs' own, heads and detectors of the hosts."""

import copy
import re

import pytest
import torch
from helpers import ROOT, naive_taps, run_python, write_detector_config
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.layers import ICConv2d
from mmic.models import build_searched, build_supernet
from mmic.models.inception import to_searched, to_supernet
from mmic.pattern import DilationPattern
from mmic.search.edo import search_network
from mmic.supernet import WideConv2d
from mmic.swap import named_convs

BLOCKED = """
import sys

names = ('cv2', 'matplotlib', 'mmcv', 'mmdet', 'mmpose', 'mmpretrain', 'mmseg', 'numba', 'scipy',
         'torchvision')

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in names:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Blocker())
import torch
torch.set_num_threads(1)
"""
# The parts of a detector that Table 10 of the paper searches.
TABLE_10 = [r'backbone\.layer\d', r'neck\.fpn_convs', r'rpn_head\.rpn_conv']


def page_code():
    """The Python blocks of the page, one by one."""
    text = (ROOT / 'docs' / 'any_network.md').read_text()
    return re.findall(r'^```python\n(.*?)^```$', text, re.S | re.M)


def names_of(network, kind):
    """Names of a network's layers of one class, a shared one under each."""
    return {name for name, conv in named_convs(network) if isinstance(conv, kind)}


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def randomise_norms(network):
    """Fresh batch norms hide errors, and those that start at zero whole blocks."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    # mmdet's backbones return None from it.
    network.eval()
    return network


def call(network, x):
    return network(x)


@torch.no_grad()
def outputs(network, run, x):
    """All tensors that a network returns, in one list."""
    flat, todo = [], [run(network, x)]
    while todo:
        item = todo.pop(0)
        if isinstance(item, torch.Tensor):
            flat.append(item)
        else:
            todo = [*item, *todo]
    return flat


def check_network(plain, run, x, tmp_path, select=None, d_max=2):
    """Search a network and compare what comes out with what must come out.

    Args:
        plain (nn.Module): In eval mode.
        run (Callable[[nn.Module, Tensor], Any]): Calls it.
        x (Tensor): Input.
        tmp_path (Path): For the pattern file.
        select: As of ``to_supernet``.
        d_max (int): Of the supernet.

    Returns:
        tuple[nn.Module, nn.Module]: Supernet, and searched network with its weights.
    """
    expected = outputs(plain, run, x)
    # Embedded, the supernet is the plain network.
    embedded = to_supernet(copy.deepcopy(plain), d_max, select, embed=True)
    for mine, theirs in zip(outputs(embedded, run, x), expected):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    supernet = to_supernet(copy.deepcopy(plain), d_max, select)
    assert not supernet.training
    pattern, reports = search_network(supernet, layout='position')
    wide = {name: m for name, m in supernet.named_modules() if isinstance(m, WideConv2d)}
    assert set(pattern.layers) == set(wide) == {report.name for report in reports}
    pattern.save(tmp_path / 'pattern.json')
    searched = to_searched(copy.deepcopy(plain), tmp_path / 'pattern.json')
    assert names_of(searched, ICConv2d) == names_of(supernet, WideConv2d)
    assert count_parameters(searched) == count_parameters(plain)
    missing, unexpected = searched.load_state_dict(plain.state_dict())
    assert not missing + unexpected
    # A supernet with all other taps zero is the searched network with the chosen taps.
    for name, conv in wide.items():
        dilations = pattern.layers[name].dilations.tolist()
        taps = naive_taps(conv.weight.detach(), dilations)
        searched.get_submodule(name).weight.data.copy_(taps)
        masked, centre = torch.zeros_like(conv.weight), conv.kernel_size[0] // 2
        for channel, (h, w) in enumerate(dilations):
            for u in (-1, 0, 1):
                for v in (-1, 0, 1):
                    tap = (channel, slice(None), centre + u * h, centre + v * w)
                    masked[tap] = conv.weight.detach()[tap]
        conv.weight.data.copy_(masked)
    mine, theirs = outputs(searched, run, x), outputs(supernet, run, x)
    assert [o.shape for o in mine] == [o.shape for o in expected]
    for first, second in zip(mine, theirs):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)
    # With other weights than the plain network, the outputs must be others.
    assert any(not torch.allclose(a, b, atol=1e-3) for a, b in zip(mine, expected))
    return supernet, searched


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    yield
    init_default_scope('mmdet')


def test_page_runs_with_torch_and_mmengine_alone(tmp_path):
    printed = run_python(BLOCKED + '\n'.join(page_code()), cwd=tmp_path, timeout=600)
    scores = dict(re.findall(r'^(\w+) +mean IoU (\S+)$', printed, re.M))
    assert set(scores) == {'plain', 'supernet', 'searched'}
    # They learn; which is better is not for one seed to say.
    assert all(float(score) > 0.4 for score in scores.values()), printed
    pattern = DilationPattern.load(tmp_path / 'work_dirs' / 'unet.json')
    assert len(pattern.layers) == 10
    assert all(name in printed for name in pattern.layers)


def test_unet_of_the_page(tmp_path):
    scope = {}
    exec(page_code()[0], scope)
    unet = randomise_norms(scope['UNet']())
    x = torch.randn(2, 3, 40, 24)
    supernet, _ = check_network(unet, call, x, tmp_path, d_max=3)
    assert names_of(supernet, WideConv2d) == {
        f'{part}.{n}.{i}'
        for part, count in (('down', 3), ('merge', 2))
        for n in range(count)
        for i in (0, 3)
    }


def test_torchvision_resnet(tmp_path):
    torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed')
    network = randomise_norms(torchvision.models.resnet18())
    supernet, searched = check_network(network, call, torch.randn(1, 3, 64, 64), tmp_path)
    assert len(names_of(supernet, WideConv2d)) == 16
    assert type(searched.conv1) is type(searched.layer2[0].downsample[0]) is nn.Conv2d


def test_mmseg_head(tmp_path):
    pytest.importorskip('mmseg.models', reason='mmsegmentation is not installed')
    init_default_scope('mmseg')
    config = dict(
        type='mmseg.FCNHead',
        in_channels=8,
        channels=8,
        num_convs=2,
        num_classes=3,
        in_index=0,
        norm_cfg=dict(type='BN'),
    )
    head = randomise_norms(MODELS.build(config))
    supernet, _ = check_network(
        head, lambda head, x: head([x]), torch.randn(2, 8, 17, 13), tmp_path
    )
    assert names_of(supernet, WideConv2d) == {'convs.0.conv', 'convs.1.conv', 'conv_cat.conv'}
    # By config, as in a segmentor's decode_head.
    built = MODELS.build(dict(type='build_supernet', model=config, d_max=2, select='convs'))
    assert names_of(built, WideConv2d) == {'convs.0.conv', 'convs.1.conv'}


def detect(detector, x):
    """Features and the outputs of the dense head."""
    features = detector.extract_feat(x)
    head = detector.rpn_head if hasattr(detector, 'rpn_head') else detector.bbox_head
    return features, head(features)


@pytest.fixture
def faster_rcnn(tmp_path):
    """Config of a thin Faster R-CNN."""
    pytest.importorskip('mmdet.models', reason='mmdet is not installed')
    path = write_detector_config(tmp_path / 'detector.py', tmp_path, type='ResNet')
    init_default_scope('mmdet')
    return Config.fromfile(path).model


def test_backbone_fpn_and_rpn_of_a_detector(faster_rcnn, tmp_path):
    """Table 10 of the IC paper."""
    detector = randomise_norms(MODELS.build(faster_rcnn))
    x = torch.randn(1, 3, 64, 64)
    supernet, _ = check_network(detector, detect, x, tmp_path, TABLE_10)
    wide = names_of(supernet, WideConv2d)
    assert {name for name in wide if not name.startswith('backbone')} == {
        *(f'neck.fpn_convs.{level}.conv' for level in range(4)),
        'rpn_head.rpn_conv',
    }
    assert len(wide) == 16 + 5
    # By config, from the same pattern file.
    built = build_supernet(faster_rcnn, 2, TABLE_10)
    assert names_of(built, WideConv2d) == wide
    searched = build_searched(faster_rcnn, str(tmp_path / 'pattern.json'))
    assert names_of(searched, ICConv2d) == wide
    strict = build_searched(faster_rcnn, str(tmp_path / 'pattern.json'), TABLE_10)
    assert strict.state_dict().keys() == searched.state_dict().keys()


def test_detector_that_was_searched_trains(faster_rcnn):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    detector = build_supernet(faster_rcnn, 2, TABLE_10).train()
    boxes = torch.tensor([[4.0, 4.0, 40.0, 40.0]])
    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64))
    )
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1]))
    losses = detector.loss(torch.randn(1, 3, 64, 64), [sample])
    total, _ = detector.parse_losses(losses)
    total.backward()
    for name in ('backbone.layer1.0.conv1', 'neck.fpn_convs.0.conv', 'rpn_head.rpn_conv'):
        assert detector.get_submodule(name).weight.grad.abs().sum() > 0, name


def rtmdet():
    """Config of a thin RTMDet, whose head shares convolutions over levels but not norms."""
    common = dict(expand_ratio=0.5, norm_cfg=dict(type='BN'), act_cfg=dict(type='SiLU'))
    return dict(
        type='mmdet.RTMDet',
        backbone=dict(type='mmdet.CSPNeXt', deepen_factor=0.167, widen_factor=0.125, **common),
        neck=dict(
            type='mmdet.CSPNeXtPAFPN',
            in_channels=[32, 64, 128],
            out_channels=16,
            num_csp_blocks=1,
            **common,
        ),
        bbox_head=dict(
            type='mmdet.RTMDetSepBNHead',
            num_classes=3,
            in_channels=16,
            feat_channels=16,
            stacked_convs=2,
            share_conv=True,
            anchor_generator=dict(type='mmdet.MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
            bbox_coder=dict(type='mmdet.DistancePointBBoxCoder'),
            loss_cls=dict(type='mmdet.QualityFocalLoss'),
            loss_bbox=dict(type='mmdet.GIoULoss'),
        ),
    )


def test_shared_convs_stay_shared(tmp_path):
    pytest.importorskip('mmdet.models', reason='mmdet is not installed')
    init_default_scope('mmdet')
    plain = randomise_norms(MODELS.build(rtmdet()))
    x = torch.randn(1, 3, 64, 64)
    supernet, searched = check_network(plain, detect, x, tmp_path)
    for network, kind in ((supernet, WideConv2d), (searched, ICConv2d)):
        head = network.bbox_head
        for part in ('cls_convs', 'reg_convs'):
            convs = [[module.conv for module in level] for level in getattr(head, part)]
            assert all(isinstance(conv, kind) for conv in convs[0])
            for level in convs[1:]:
                assert all(mine is first for mine, first in zip(level, convs[0]))
            norms = [level[0].bn for level in getattr(head, part)]
            assert norms[0] is not norms[1]
    shared = {'bbox_head.cls_convs.1.0.conv', 'bbox_head.cls_convs.0.0.conv'}
    assert shared <= names_of(searched, ICConv2d)
    pattern = DilationPattern.load(tmp_path / 'pattern.json')
    assert shared & set(pattern.layers) == {'bbox_head.cls_convs.0.0.conv'}
    # One parameter, so an optimizer steps it once; one gradient over all levels.
    parameters = [id(parameter) for parameter in searched.parameters()]
    assert len(parameters) == len(set(parameters)) == len(list(plain.parameters()))


def test_shared_convs_are_found_by_any_of_their_names(tmp_path):
    pytest.importorskip('mmdet.models', reason='mmdet is not installed')
    init_default_scope('mmdet')
    select = r'bbox_head\.cls_convs\.1'
    supernet = build_supernet(rtmdet(), 2, select)
    search_network(supernet)[0].save(tmp_path / 'pattern.json')
    for chosen in (None, select):
        searched = build_searched(rtmdet(), str(tmp_path / 'pattern.json'), chosen)
        assert names_of(searched, ICConv2d) == names_of(supernet, WideConv2d)
        assert len(names_of(searched, ICConv2d)) == 6


@pytest.fixture
def dcn_resnet():
    pytest.importorskip('mmdet.models', reason='mmdet is not installed')
    init_default_scope('mmdet')
    config = dict(
        type='mmdet.ResNet',
        depth=50,
        base_channels=8,
        dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, False, False),
    )
    network = randomise_norms(MODELS.build(config))
    # mmcv starts them at zero.
    for name, conv in named_convs(network):
        if name.endswith('offset'):
            nn.init.normal_(conv.weight, std=0.01)
    return network


def test_offset_convs_stay(dcn_resnet, tmp_path):
    x = torch.randn(1, 3, 64, 64)
    networks = check_network(dcn_resnet, call, x, tmp_path)
    for network in networks:
        for block in range(4):
            deformable = network.layer2[block].conv2
            assert type(deformable).__name__ == 'ModulatedDeformConv2dPack'
            assert type(deformable.conv_offset) is nn.Conv2d
            assert torch.equal(
                deformable.conv_offset.weight, dcn_resnet.layer2[block].conv2.conv_offset.weight
            )
    assert len(names_of(networks[1], ICConv2d)) == 16 - 4


def test_offset_convs_are_searched_when_named(dcn_resnet, tmp_path):
    select = r'layer2\.[01]\.conv2\.conv_offset'
    x = torch.randn(1, 3, 64, 64)
    supernet, _ = check_network(dcn_resnet, call, x, tmp_path, select)
    assert names_of(supernet, WideConv2d) == {
        f'layer2.{block}.conv2.conv_offset' for block in (0, 1)
    }


def test_choice_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match='matches no convolution larger than 1x1'):
        to_supernet(nn.Sequential(nn.Conv2d(3, 4, 1)), 2)
    with pytest.raises(ValueError, match=r"Convolution '1': .*dilation=\(2, 2\)"):
        to_supernet(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3, dilation=2)), 2)
