"""Train a network from a config of mmdet, mmpose, mmpretrain or mmseg."""

import argparse

from mmengine.runner import Runner

from mmic.engine.command_line import files_in, run
from mmic.engine.config import add_runner_arguments, add_trust_argument, read_config
from mmic.engine.config_errors import ConfigError, config_errors
from mmic.engine.safe_loading import CheckpointFitHook
from mmic.engine.search_cost import add_search_cost
from mmic.engine.v1_compatible import add_v1_compatible, v1_compatible

NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_runner_arguments(parser)
    add_v1_compatible(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size, from the config's base_batch_size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or from the newest one in the work dir',
    )
    add_trust_argument(parser)
    args = parser.parse_args()
    cfg = read_config(args, NEEDED)
    if args.v1_compatible:
        cfg = v1_compatible(cfg)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            parser.error(f'{args.config} sets no auto_scale_lr.base_batch_size to scale from')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    with config_errors(args.config):
        runner = Runner.from_cfg(cfg)
    runner.register_hook(CheckpointFitHook())
    add_search_cost(runner)
    with config_errors(args.config, running=True), files_in(cfg.work_dir):
        runner.train()


if __name__ == '__main__':
    # Of an error in the midst of a training a line tells too little.
    run(main, (ConfigError,))
