"""The chain by its commands: train, search, show, train the searched network, test."""

import json
import pickle
import re
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    build_model,
    call_search,
    is_searched,
    load_state,
    naive_edo,
    naive_taps,
    read_dilations,
    run_tool,
    write_detector_config,
)
from mmengine.runner import load_checkpoint

from mmic.pattern import PatternError

# How mmengine's loader tells of weights that do not fit.
MISFIT = re.compile('do not match exactly|missing keys|unexpected key|size mismatch')


@pytest.fixture(scope='module')
def chain(tmp_path_factory, toy_data, supernet):
    """Everything after the supernet, in one folder; each step is a command of its own."""
    folder = tmp_path_factory.mktemp('chain')
    run = SimpleNamespace(folder=folder, pattern=folder / 'pattern.json', init=folder / 'init.pth')
    search = ['--out', run.pattern, '--init-weights', run.init]
    run.edo = run_tool('edo_search.py', supernet.config, supernet.checkpoint, *search)
    run.show = run_tool('show_pattern.py', run.pattern)
    # Found beside the config, wherever the command is started.
    run.config = write_detector_config(
        folder / 'searched.py',
        toy_data,
        type='ICResNet',
        pattern='{{fileDirname}}/pattern.json',
    )
    work = ['--work-dir', folder / 'run']
    options = ['--cfg-options', f'load_from={run.init}', 'train_cfg.max_epochs=2']
    run.train = run_tool('train.py', run.config, *work, *options, cwd=folder)
    run.checkpoint = folder / 'run' / 'epoch_2.pth'
    outputs = ['--out', folder / 'predictions.pkl', '--show-dir', 'pictures']
    run.test = run_tool('test.py', run.config, run.checkpoint, *work, *outputs, cwd=folder)
    return run


@pytest.fixture(scope='module')
def wide_weights(supernet):
    """The trained supernet's kernels by full name."""
    state = load_state(supernet.checkpoint)
    return {
        name[: -len('.weight')]: value for name, value in state.items() if is_searched(name, value)
    }


def test_supernet_has_wide_kernels_in_every_block(wide_weights):
    # ResNet-18 has two 3x3 convolutions in each of 8 blocks; d_max 2 makes them 5x5.
    blocks = [(stage, block) for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert wide_weights.keys() == {
        f'backbone.layer{stage}.{block}.conv{conv}' for stage, block in blocks for conv in (1, 2)
    }
    assert {tuple(weight.shape[2:]) for weight in wide_weights.values()} == {(5, 5)}


def test_pattern_is_what_loops_over_the_weights_find(chain, wide_weights):
    found = read_dilations(chain.pattern)
    assert {f'backbone.{name}' for name in found} == wide_weights.keys()
    for name, dilations in found.items():
        assert dilations == naive_edo(wide_weights[f'backbone.{name}']), name


def test_inherited_weights_keep_channels_in_position(chain):
    assert json.loads(chain.pattern.read_text())['meta']['layout'] == 'position'
    # The search has found runs that sorting would have merged.
    assert any(found != sorted(found) for found in read_dilations(chain.pattern).values())


def test_default_layout_is_the_same_choice_sorted(chain, pattern):
    assert json.loads(pattern.read_text())['meta']['layout'] == 'sorted'
    expected = {name: sorted(found) for name, found in read_dilations(chain.pattern).items()}
    assert read_dilations(pattern) == expected


def test_layout_position_without_weights_is_the_same_file(chain, supernet, tmp_path):
    out = tmp_path / 'position.json'
    found, _ = call_search(supernet.config, supernet.checkpoint, out, '--layout', 'position')
    assert found == read_dilations(chain.pattern)


def test_search_prints_every_layer_and_what_comes_next(chain):
    for name, dilations in read_dilations(chain.pattern).items():
        assert re.search(rf'{re.escape(name)}\s+│\s+{len(dilations)} ', chain.edo), name
    assert 'error left' in chain.edo
    assert f'Wrote {chain.pattern}' in chain.edo
    assert f'--cfg-options model.backbone.pattern={chain.pattern}' in chain.edo


def test_pattern_keeps_what_the_search_cost(pattern, supernet):
    cost = json.loads(pattern.read_text())['meta']['search_cost']
    saved = torch.load(supernet.checkpoint, weights_only=False)['meta']
    assert cost['training'] == saved['search_cost']
    assert cost['training']['steps'] == saved['iter'] > 0
    assert cost['training']['parameters'] > cost['training']['plain_parameters']
    assert cost['seconds'] >= 0
    assert supernet.log.count('Search cost: the supernet has') == 1
    assert supernet.log.count('Search cost: training took') == 1


def test_show_draws_beside_the_pattern(chain):
    picture = chain.folder / 'pattern.png'
    assert f'Wrote {picture}' in chain.show
    assert picture.read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    assert 'layer4.1.conv2' in chain.show


def test_inherited_weights_are_the_supernet_s_taps(chain, wide_weights):
    model = build_model(chain.config)
    load_checkpoint(model, str(chain.init), map_location='cpu', strict=True)
    modules = dict(model.named_modules())
    found = read_dilations(chain.pattern)
    for name, weight in wide_weights.items():
        dilations = found[name[len('backbone.') :]]
        assert torch.equal(modules[name].weight, naive_taps(weight, dilations)), name
        assert modules[name].dilations.tolist() == [list(pair) for pair in dilations]


def test_inherited_weights_keep_all_other_tensors(chain, supernet, wide_weights):
    before, after = load_state(supernet.checkpoint), load_state(chain.init)
    rest = before.keys() - {f'{name}.weight' for name in wide_weights}
    assert after.keys() - before.keys() == {f'{name}.dilations' for name in wide_weights}
    assert len(rest) > 100
    assert all(torch.equal(before[name], after[name]) for name in rest)


def test_inherited_weights_load_without_complaint(chain):
    assert f'Load checkpoint from {chain.init}' in chain.train
    assert not MISFIT.search(chain.train)


def test_searched_detector_trains_from_the_pattern(chain):
    before, after = load_state(chain.init), load_state(chain.checkpoint)
    searched = [name for name in after if name.endswith('.dilations')]
    assert len(searched) == 16
    for name in searched:
        assert torch.equal(before[name], after[name])
        weight = name.replace('dilations', 'weight')
        assert after[weight].shape[2:] == (3, 3)
        assert not torch.equal(before[weight], after[weight])


def test_config_finds_the_pattern_beside_it_from_any_folder(chain):
    saved = (chain.folder / 'run' / 'searched.py').read_text()
    assert f"pattern='{chain.pattern.as_posix()}'" in saved


def test_test_prints_ap_and_loads_without_complaint(chain):
    values = re.findall(r'coco/bbox_mAP: (\S+)', chain.test)
    assert len(values) == 1
    assert 0 <= float(values[0]) <= 1
    assert not MISFIT.search(chain.test)


def test_test_writes_predictions_of_every_image(chain, toy_data):
    predictions = pickle.loads((chain.folder / 'predictions.pkl').read_bytes())
    images = json.loads((toy_data / 'annotations' / 'val.json').read_text())['images']
    assert [item['img_id'] for item in predictions] == [image['id'] for image in images]
    assert all(item['pred_instances']['bboxes'].shape[1] == 4 for item in predictions)


def test_test_draws_every_image_in_the_named_folder(chain, toy_data):
    drawn = {path.name for path in (chain.folder / 'pictures').glob('*.png')}
    assert drawn == {path.name for path in (toy_data / 'val').glob('*.png')}


def test_checkpoint_of_another_pattern_is_refused(chain, searched_config):
    """The two networks differ in the pattern's layout alone, so that all shapes agree."""
    with pytest.raises(PatternError, match=r"'backbone\.layer\d\.\d\.conv\d': the checkpoint was"):
        load_checkpoint(build_model(searched_config), str(chain.checkpoint), map_location='cpu')
