"""mmcv's ``efficient_conv_bn_eval`` runs a convolution with other weights than its own."""

import pytest
import torch

bricks = pytest.importorskip('mmcv.cnn', reason='mmcv is not installed')

import mmic  # noqa: E402, F401

CONVS = {
    'ICConv2d': {'dilations': [[1, 1], [3, 2]] * 4},
    'PSConv2d': {},
    'MaskedPSConv2d': {},
    'DOConv2d': {},
}


@pytest.mark.parametrize('kind', CONVS)
def test_efficient_bn_eval_is_the_same_function(kind):
    torch.manual_seed(0)
    cfg = dict(type=kind, **CONVS[kind])
    block = bricks.ConvModule(8, 8, 3, padding=1, conv_cfg=cfg, norm_cfg=dict(type='BN')).double()
    block.bn.running_mean.normal_()
    block.bn.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(block.bn.weight)
    for name, parameter in block.conv.named_parameters():
        if name != 'weight':
            torch.nn.init.normal_(parameter, std=0.1)
    block.eval()
    x = torch.randn(2, 8, 9, 9).double()
    expected = block(x)
    block.turn_on_efficient_conv_bn_eval()
    assert block.efficient_conv_bn_eval_forward is not None
    torch.testing.assert_close(block(x), expected)
