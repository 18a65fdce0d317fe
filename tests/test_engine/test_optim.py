"""The optimizers of a bilevel search, built as mmengine builds them."""

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmic.engine import BilevelOptimWrapperConstructor
from mmic.models.nats import to_mixed

SGD = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)


@OPTIM_WRAPPERS.register_module()
class MarkedOptimWrapper(OptimWrapper):
    """Stands for AmpOptimWrapper, which a CPU cannot build: a type with a setting of its own."""

    def __init__(self, *args, loss_scale=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_scale = loss_scale


def make_supernet():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    return to_mixed(network, [1, 2], num_groups=4)


def build(model, **settings):
    cfg = dict(constructor='BilevelOptimWrapperConstructor', optimizer=dict(SGD), **settings)
    return build_optim_wrapper(model, cfg)


def names_of(model, wrapper):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)] for group in wrapper.optimizer.param_groups for p in group['params']}


def test_alpha_has_the_optimizer_of_the_paper():
    model = make_supernet()
    wrappers = build(model)
    alphas = {'0.alpha', '2.alpha'}
    assert names_of(model, wrappers['alpha']) == alphas
    assert names_of(model, wrappers['weights']) == set(dict(model.named_parameters())) - alphas
    adam = wrappers['alpha'].optimizer
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults['lr'], adam.defaults['weight_decay']) == (0.01, 1e-5)
    assert type(wrappers['weights']) is OptimWrapper


def test_wrapper_settings_go_to_both():
    """As ``--amp`` sets them."""
    settings = dict(type='MarkedOptimWrapper', loss_scale='dynamic', accumulative_counts=4)
    wrappers = build(
        make_supernet(), clip_grad=dict(max_norm=3), alpha_optimizer=dict(SGD, lr=0.5), **settings
    )
    for wrapper in wrappers.values():
        assert isinstance(wrapper, MarkedOptimWrapper)
        assert wrapper.loss_scale == 'dynamic'
        assert wrapper._accumulative_counts == 4
        assert wrapper.clip_grad_kwargs == dict(max_norm=3)
    assert wrappers['alpha'].param_groups[0]['lr'] == 0.5
    assert wrappers['weights'].param_groups[0]['lr'] == 0.1


def test_settings_per_parameter_are_the_hosts():
    model = make_supernet()
    wrappers = build(model, paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=2.0))
    groups = wrappers['weights'].optimizer.param_groups
    assert all(group['params'] for group in groups)
    decay = {name: [] for name in names_of(model, wrappers['weights'])}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group['params']:
            decay[names[id(parameter)]] = (group['weight_decay'], group['lr'])
    assert decay['1.weight'] == (0.0, 0.1)
    assert decay['2.bias'] == (1e-4, 0.2)
    assert decay['0.weights.1'] == (1e-4, 0.1)
    assert names_of(model, wrappers['alpha']) == {'0.alpha', '2.alpha'}


def test_frozen_alpha_is_left_out_and_none_at_all_is_refused():
    model = make_supernet()
    model[0].alpha.requires_grad_(False)
    assert names_of(model, build(model)['alpha']) == {'2.alpha'}
    model[2].alpha.requires_grad_(False)
    with pytest.raises(ValueError, match='no alpha to train'):
        build(model)


def test_config_is_left_as_it_is():
    cfg = dict(optimizer=dict(SGD), alpha_optimizer=dict(type='Adam', lr=0.3))
    before = {key: dict(value) for key, value in cfg.items()}
    BilevelOptimWrapperConstructor(cfg)(make_supernet())
    assert cfg == before
