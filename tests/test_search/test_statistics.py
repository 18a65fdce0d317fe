"""Eq. 3 with measured means of the input channels, against loops over real inputs."""

import itertools
import json

import pytest
import torch
from helpers import build_model, call_search, call_tool, load_state, read_dilations
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import nn
from torch.nn import functional as F

from mmic.search.edo import search_dilations, search_network
from mmic.search.statistics import InputMeans
from mmic.supernet import WideConv2d

PAIRS = sorted(itertools.product((1, 2), repeat=2), key=lambda pair: (sum(pair), *pair))


def errors_of_mean_image(weight, mean, groups):
    """Response of ``W - W~`` to an image that has each channel's mean everywhere, by conv2d."""
    image = mean[None, :, None, None].expand(1, -1, 7, 7)
    rows = []
    for d_h, d_w in PAIRS:
        rest = weight.double().clone()
        rest[:, :, 2 - d_h : 3 + d_h : d_h, 2 - d_w : 3 + d_w : d_w] = 0
        rows.append(F.conv2d(image, rest, groups=groups)[0, :, 1, 1].abs())
    return torch.stack(rows, 1)


@pytest.mark.parametrize('groups', [1, 2, 8])
def test_choice_is_that_of_the_response_to_measured_inputs(groups):
    torch.manual_seed(groups)
    conv = WideConv2d(8, 16, 3, padding=1, groups=groups, d_max=2)
    images = [torch.randn(n, 8, 9, 5) + torch.randn(8, 1, 1) for n in (1, 3)]
    with InputMeans({'conv': conv}) as inputs:
        for image in images:
            conv(image)
    mean = inputs.means()['conv']
    sums = [sum(v for image in images for v in image[:, c].flatten().tolist()) for c in range(8)]
    assert mean.dtype == torch.float64
    assert mean.tolist() == pytest.approx([value / (4 * 45) for value in sums], abs=1e-12)
    dilations, errors = search_dilations(
        conv.weight, layout='position', groups=groups, input_mean=mean
    )
    table = errors_of_mean_image(conv.weight.detach(), mean, groups)
    assert dilations.tolist() == [list(PAIRS[index]) for index in table.argmin(1)]
    torch.testing.assert_close(errors, table.min(1).values)
    # A depthwise filter sees one channel: its mean scales all errors alike.
    plain, _ = search_dilations(conv.weight, layout='position')
    assert torch.equal(dilations, plain) == (groups == 8)


@pytest.mark.parametrize('groups', [1, 4])
@pytest.mark.parametrize('criterion', ['response', 'l1_weight'])
def test_equal_means_give_the_paper_s_choice(criterion, groups):
    torch.manual_seed(0)
    weight = torch.randn(600, 16 // groups, 9, 9)  # more than is converted at a time
    plain = search_dilations(weight, criterion=criterion, groups=groups)
    for value in (0.37, 4.0):
        mean = torch.full((16,), value)
        same = search_dilations(weight, criterion=criterion, groups=groups, input_mean=mean)
        assert torch.equal(same[0], plain[0])
        torch.testing.assert_close(same[1], plain[1] * mean[0].double())


def test_hooks_are_removed_also_after_an_error():
    conv = WideConv2d(3, 4, 3, d_max=2)
    with InputMeans({'conv': conv}):
        assert conv._forward_pre_hooks
    assert not conv._forward_pre_hooks
    with pytest.raises(RuntimeError), InputMeans({'conv': conv}):
        conv(torch.zeros(1, 2, 9, 9))
    assert not conv._forward_pre_hooks


def test_a_layer_that_did_not_run_is_named():
    network = nn.ModuleDict({'a': WideConv2d(3, 4, 3, d_max=2), 'b': WideConv2d(3, 4, 3, d_max=2)})
    with InputMeans(dict(network.items())) as inputs:
        network['a'](torch.zeros(1, 3, 9, 9))
    with pytest.raises(ValueError, match="'b' was not run"):
        inputs.means()
    with pytest.raises(ValueError, match="'b': input_means has no mean"):
        search_network(network, input_means={'a': torch.ones(3)})


@pytest.mark.parametrize(
    ('mean', 'told'),
    [(torch.ones(3), r'shape \(3,\); the layer has 4'), (torch.full((4,), torch.nan), 'NaN')],
)
def test_impossible_means_are_refused_by_layer(mean, told):
    network = nn.ModuleDict({'stage': WideConv2d(4, 8, 3, d_max=2)})
    with pytest.raises(ValueError, match=f"'stage': .*{told}"):
        search_network(network, input_means={'stage': mean})


def test_command_measures_all_training_images(supernet, tmp_path):
    """All 8 images, so that their order does not matter, in batches of 3."""
    out = tmp_path / 'pattern.json'
    found, text = call_search(
        supernet.config, supernet.checkpoint, out, '--layout', 'position',
        '--statistics', supernet.config, '--samples', 8,
        '--cfg-options', 'train_dataloader.batch_size=3',
    )  # fmt: skip
    meta = json.loads(out.read_text())['meta']
    assert (meta['statistics'], meta['samples']) == (str(supernet.config), 8)
    assert 'Statistics, images' in text
    model = build_model(supernet.config)
    state = load_state(supernet.checkpoint)
    model.load_state_dict(state)
    model.eval()
    dataset = DATASETS.build(Config.fromfile(supernet.config).train_dataloader.dataset)
    conv, inputs = model.backbone.layer3[0].conv2, []
    conv.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    for start in range(0, 8, 3):
        batch = pseudo_collate([dataset[i] for i in range(start, min(start + 3, 8))])
        with torch.no_grad():
            model.extract_feat(model.data_preprocessor(batch)['inputs'])
    assert sum(len(x) for x in inputs) == 8
    # One number per channel, whatever the sizes of the images.
    mean = torch.cat([x.double().transpose(0, 1).flatten(1) for x in inputs], 1).mean(1)
    table = errors_of_mean_image(state['backbone.layer3.0.conv2.weight'], mean, 1)
    assert found['layer3.0.conv2'] == [PAIRS[index] for index in table.argmin(1)]


def test_command_combines_statistics_and_blocks(supernet, tmp_path):
    out = tmp_path / 'pattern.json'
    _, text = call_search(
        supernet.config, supernet.checkpoint, out, '--multiple', 4, '--max-dilations', 2,
        '--statistics', supernet.config, '--samples', 1,
    )  # fmt: skip
    assert 'increase' in text
    meta = json.loads(out.read_text())['meta']
    assert (meta['multiple'], meta['max_dilations'], meta['samples']) == (4, 2, 1)
    for name, found in read_dilations(out).items():
        assert len(set(found)) <= 2, name
        assert all(found.count(pair) % 4 == 0 for pair in set(found)), name


@pytest.mark.parametrize(
    ('arguments', 'code', 'told'),
    [
        (['--multiple', 0], 2, '--multiple must be 1 or more, got 0'),
        (['--max-dilations', 0], 2, '--max-dilations must be 1 or more, got 0'),
        (['--multiple', 16], 1, "'layer1.0.conv1': multiple is 16, the layer has 8 output"),
        (['--space', 'layer', '--multiple', 2], 2, '--space layer has one dilation'),
        (['--samples', 4], 2, '--samples goes with --statistics'),
        (['--statistics', 'CONFIG', '--samples', 9], 1, 'from 1 to 8, the images of'),
        (['--statistics', 'missing.py'], 1, 'no config file missing.py'),
        (
            ['--statistics', 'CONFIG', '--cfg-options', 'train_dataloader=None'],
            1,
            'has no train_dataloader',
        ),
    ],
)
def test_command_refuses(supernet, tmp_path, arguments, code, told):
    out = tmp_path / 'pattern.json'
    arguments = [supernet.config if word == 'CONFIG' else word for word in arguments]
    done = call_tool(
        'edo_search.py', supernet.config, supernet.checkpoint, '--out', out, *arguments
    )
    assert done.code == code, done.text
    assert told in done.text
    assert 'Traceback' not in done.text
    assert not out.exists()
