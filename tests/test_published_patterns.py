"""The patterns that the authors of Inception Convolution published, as they are shipped."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from helpers import ROOT, load_state, run_tool
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from mmic.datasets.generated import make_generated
from mmic.engine.trial import drop_weights, trial_config
from mmic.pattern import DilationPattern

FOLDER = ROOT / 'configs' / 'ic_conv'
# SHA-1 of the dilations, laid out alike: run-length coded, by layer. Of ResNet-101 the files for
# detection and segmentation hold the same ones.
CHECKSUMS = {
    'detection-ic_resnet101_k9': 'd87fe442ffd2f577e3266d2ed19bc6fd442b817a',
    'detection-ic_resnet50_k9': '528a948eeee9e8183d96ab017b486f87764460b9',
    'human_pose-ic_resnet101_k13': 'cfde92e1f085bfbe78bdb539c90ac1cb293eec6c',
    'human_pose-ic_resnet50_k13': '405b3555c080cf3d1b92c3c94ac13b110b93d303',
    'segmentation-ic_resnet101_k9': 'd87fe442ffd2f577e3266d2ed19bc6fd442b817a',
    'segmentation-ic_resnet50_k9': '8579e0b349bb012e827000b84d5791de1083d142',
}
NAMES = sorted(CHECKSUMS)
BLOCKS = {'50': [3, 4, 6, 3], '101': [3, 4, 23, 3]}
# The authors' own files, where they lie beside the checkout.
ZOO = ROOT.parent / 'shared' / 'pattern_zoo'


def depth_of(name):
    return re.search(r'resnet(\d+)', name)[1]


def dilations_in(name):
    """Run lengths of each layer as they stand in the file."""
    layers = json.loads((FOLDER / 'patterns' / f'{name}.json').read_text())['layers']
    return {layer: value['dilations'] for layer, value in layers.items()}


def test_six_patterns_are_shipped():
    assert sorted(path.stem for path in (FOLDER / 'patterns').glob('*-ic_*.json')) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_content_is_what_was_published(name):
    content = json.dumps(dilations_in(name), separators=(',', ':'))
    assert hashlib.sha1(content.encode()).hexdigest() == CHECKSUMS[name]


@pytest.mark.skipif(not ZOO.is_dir(), reason="the authors' own files are not beside the checkout")
@pytest.mark.parametrize('name', NAMES)
def test_counts_are_those_of_the_authors_file(name):
    published = json.loads((ZOO / f'{name}.json').read_text())
    expected = []
    for entry in published:
        pairs = [re.findall(r'\d+', key) for key in entry]
        runs = [[int(a) + 1, int(b) + 1, count] for (a, b), count in zip(pairs, entry.values())]
        expected.append([run for run in runs if run[2]])
    assert list(dilations_in(name).values()) == expected


@pytest.mark.parametrize('name', NAMES)
def test_file_says_where_it_is_from_and_fits_its_resnet(name):
    pattern = DilationPattern.load(FOLDER / 'patterns' / f'{name}.json')
    task, network = name.split('-')
    assert pattern.meta == {
        'layout': 'sorted',
        'sorted_within': 'groups',
        'repository': 'https://github.com/yifan123/IC-Conv',
        'file': f'pattern_zoo/{task}/{network}.json',
        'commit': '0a92284',
    }
    blocks = BLOCKS[depth_of(name)]
    assert (pattern.method, pattern.scope) == ('published', 'backbone')
    assert pattern.stage_blocks == blocks
    assert list(pattern.layers) == [
        f'layer{stage}.{block}.conv2'
        for stage, count in enumerate(blocks, 1)
        for block in range(count)
    ]
    for layer, found in pattern.layers.items():
        width = 32 * 2 ** int(layer[len('layer')])
        assert (found.in_channels, found.out_channels, found.groups) == (width, width, 1)
        # The supernet's kernel has the side 2 d_max + 1.
        assert found.dilations.max() <= (int(name.partition('_k')[2]) - 1) // 2


def cost(network):
    """Parameters, and multiply-adds of an image of 64 pixels."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 64, 64))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


@pytest.fixture(scope='module')
def plain_costs():
    pytest.importorskip('mmdet')
    from mmdet.models.backbones import ResNet

    return {depth: cost(ResNet(depth=int(depth))) for depth in BLOCKS}


@pytest.mark.parametrize('name', NAMES)
def test_networks_cost_what_the_plain_ones_do(name, plain_costs, monkeypatch):
    from mmic.models import ICResNet

    # Counted where torch computes: compiled code is not seen by the counter.
    monkeypatch.setattr('mmic.layers.ic_conv.direct_applies', lambda *_: False)
    depth = depth_of(name)
    network = ICResNet(depth=int(depth), pattern=FOLDER / 'patterns' / f'{name}.json')
    assert cost(network) == plain_costs[depth]


CONFIGS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob('*-published_*.py'))
DETECTORS = ['cascade-mask-rcnn', 'cascade-rcnn', 'faster-rcnn', 'mask-rcnn']


def test_there_is_a_config_for_each_detector_and_depth():
    expected = [
        f'{detector}_ic-r{depth}-k9-published_fpn_13e_coco.py'
        for detector in DETECTORS
        for depth in BLOCKS
    ]
    expected += [f'pose/ae_ic-r{depth}-k13-published_300e_coco-640x640.py' for depth in BLOCKS]
    assert sorted(expected) == CONFIGS


@pytest.mark.parametrize('name', CONFIGS)
def test_config_is_the_searched_one_with_the_published_pattern(name):
    pytest.importorskip('mmpose' if name.startswith('pose/') else 'mmdet')
    ours = Config.fromfile(FOLDER / name).to_dict()
    searched = Config.fromfile(FOLDER / name.replace('-published', '')).to_dict()
    found, own = (Path(cfg['model']['backbone'].pop('pattern')) for cfg in (ours, searched))
    assert ours == searched
    task = 'segmentation' if 'mask' in name else 'detection'
    task = 'human_pose' if name.startswith('pose/') else task
    _, depth, kernel = re.search(r'(ic-r(\d+)-(k\d+))', name).groups()
    expected = FOLDER / 'patterns' / f'{task}-ic_resnet{depth}_{kernel}.json'
    assert found.resolve() == expected
    # What a search writes, and the searched config reads, is another file.
    assert own.stem not in CHECKSUMS


STEPPED = [name for name in CONFIGS if re.match('(pose/ae|faster-rcnn)_ic-r50-', name)]


@pytest.mark.parametrize('name', STEPPED)
def test_train_command_takes_a_step_on_generated_data(name, tmp_path):
    pytest.importorskip('mmpose' if name.startswith('pose/') else 'mmdet')
    data = make_generated(tmp_path / 'data', ['coco'], 2, 1)
    cfg = trial_config(Config.fromfile(FOLDER / name), data, num_train=2, max_size=64)
    drop_weights(cfg, lambda checkpoint: True)
    cfg.dump(tmp_path / 'config.py')
    run_tool('train.py', tmp_path / 'config.py', '--work-dir', tmp_path / 'run')
    state = load_state(tmp_path / 'run' / 'epoch_1.pth')
    pattern = json.loads(Path(cfg.model.backbone.pattern).read_text())
    for layer, found in pattern['layers'].items():
        runs = [[h, w] for h, w, count in found['dilations'] for _ in range(count)]
        assert state[f'backbone.{layer}.dilations'].tolist() == runs
    assert all(value.isfinite().all() for value in state.values())
