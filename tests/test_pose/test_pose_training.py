"""Associative embedding learns eight images by heart, and is tested on them at several scales."""

import copy

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

pytest.importorskip('mmpose', reason='mmic.pose is built on mmpose')


@pytest.fixture(scope='module')
def trained(pose_config, tmp_path_factory):
    """Config of the network, naming the checkpoint of its training."""
    cfg = Config.fromfile(pose_config)
    cfg.work_dir = str(tmp_path_factory.mktemp('training'))
    init_default_scope(cfg.default_scope)
    runner = Runner.from_cfg(copy.deepcopy(cfg))
    runner.train()
    cfg.load_from = f'{cfg.work_dir}/iter_{runner.iter}.pth'
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('scales', [None, [0.5, 1.5]])
def test_poses_are_found(trained, scales):
    cfg = copy.deepcopy(trained)
    cfg.experiment_name = f'test_{scales}'
    if scales:
        cfg.model.test_cfg.multiscale_test = True
        cfg.test_dataloader.dataset.pipeline[1].aug_scales = scales
    assert Runner.from_cfg(cfg).test()['coco/AP'] > 0.8
