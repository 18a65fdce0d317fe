"""Train a network from a config of mmdet, mmpose, mmpretrain or mmseg."""

import argparse

from mmengine.runner import Runner

from mmic.engine.config import add_runner_arguments, read_config
from mmic.engine.search_cost import add_search_cost
from mmic.engine.v1_compatible import add_v1_compatible, v1_compatible


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
    args = parser.parse_args()
    cfg = read_config(args)
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
    runner = Runner.from_cfg(cfg)
    add_search_cost(runner)
    runner.train()


if __name__ == '__main__':
    main()
