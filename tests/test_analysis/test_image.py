"""The number of channels of a network's images, where no data set tells it."""

import pytest
from helpers import ROOT, call_tool
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmic.analysis.complexity import count_complexity
from mmic.analysis.erf import measure_erfs
from mmic.analysis.image import image_channels

TOY = ROOT / 'configs' / 'toy' / 'faster-rcnn_r18_fpn_toy.py'


def toy_detector(channels):
    cfg = Config.fromfile(TOY)
    init_default_scope('mmdet')
    cfg.model.backbone.in_channels = channels
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('channels', [1, 3, 4, 6])
def test_first_convolution_of_the_backbone_tells(channels):
    """Not the means of the preprocessor, which a change of in_channels leaves as they were."""
    assert image_channels(toy_detector(channels)) == channels


def test_networks_without_a_convolution_have_as_many_as_means():
    class Preprocessor(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('mean', nn.Parameter().new_zeros(5, 1, 1))

    model = nn.Sequential(nn.Linear(5, 2))
    assert image_channels(model) == 3
    model.data_preprocessor = Preprocessor()
    assert image_channels(model) == 5


def test_four_pixels_that_become_channels_are_no_channels_of_the_image():
    init_default_scope('mmdet')
    model = MODELS.build(dict(type='mmdet.CSPDarknet', widen_factor=0.125, deepen_factor=0.33))
    assert image_channels(model) == 3


@pytest.mark.parametrize('channels', [1, 4])
def test_complexity_and_erf_run_on_other_images(channels):
    """The stem alone changes: 8 filters of 7x7 on half the sides for every channel."""
    plain, model = toy_detector(3), toy_detector(channels)
    found = count_complexity(model, (64, 64)).macs['backbone']
    stem = model.backbone.conv1
    expected = (channels - 3) * stem.out_channels * 7 * 7 * 32 * 32
    assert found - count_complexity(plain, (64, 64)).macs['backbone'] == expected
    (erf,) = measure_erfs(model, image_size=64)
    assert erf.map.shape == (64, 64)
    assert 0 < erf.radius50 < erf.radius95


@pytest.mark.parametrize('channels', [1, 4])
def test_commands_take_other_images(channels, tmp_path):
    options = ['--cfg-options', f'model.backbone.in_channels={channels}']
    done = call_tool('complexity.py', TOY, '--shape', 64, 64, *options)
    assert done.code == 0, done.text
    out = tmp_path / 'erf.png'
    done = call_tool('visualize_erf.py', TOY, '--size', 64, '--out', out, *options)
    assert done.code == 0, done.text
    assert out.is_file()
