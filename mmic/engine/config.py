"""What every command does with a config file, its options and the processes it runs in."""

import os
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope


def add_config_arguments(parser):
    """Add the arguments that commands on a config share, named as in MMDetection."""
    parser.add_argument('config', help='config file')
    add_config_options(parser)


def add_config_options(parser):
    """Add ``--cfg-options``, named as in MMDetection."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='change settings of the config, for example model.backbone.depth=18 '
        'train_dataloader.batch_size=4; a list is written key="[a,b]"',
    )


def add_runner_arguments(parser):
    """Add the arguments of commands that run mmengine's Runner, named as in MMDetection."""
    add_config_arguments(parser)
    parser.add_argument(
        '--work-dir', help='where logs and checkpoints go; default: work_dirs/NAME_OF_CONFIG'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run were started; default: none',
    )
    # torch's older launcher passes it.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by torch')


def add_checkpoint_arguments(parser):
    """Add the arguments of commands that read a checkpoint and write files from it."""
    parser.add_argument('--overwrite', action='store_true', help='replace existing files')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle whatever the checkpoint holds; for files you made yourself',
    )


def add_search_arguments(parser):
    """Add the arguments of searches that read a supernet's checkpoint alone."""
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of the trained supernet')
    parser.add_argument('--out', required=True, metavar='FILE', help='pattern file to write')
    parser.add_argument(
        '--scope',
        metavar='NAME',
        help='search this part of the model only; default: the part that holds all supernet '
        'layers, "backbone" for a detector',
    )
    add_checkpoint_arguments(parser)


def read_config(args):
    """Read the config a command was given, with its options, and set its default scope.

    Args:
        args (argparse.Namespace): ``config`` and ``cfg_options``, and of commands that run
            the Runner also ``work_dir``, ``launcher``, ``local_rank``.

    Returns:
        Config

    Raises:
        FileNotFoundError: There is no such config.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'There is no config file {args.config}.')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if hasattr(args, 'launcher'):
        cfg.launcher = args.launcher
        cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
        if args.launcher == 'pytorch':
            start_processes_without_gpu(cfg)
    return cfg


def default_work_dir(config):
    return str(Path('work_dirs') / Path(config).stem)


def start_processes_without_gpu(cfg):
    """Join the process group with gloo where there is no GPU, and wrap the model for it.

    mmengine's own start selects a CUDA device first; it leaves a group that exists alone. The
    model's wrapper would get the local rank as its GPU.
    """
    if torch.cuda.is_available():
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
