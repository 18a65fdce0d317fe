"""What every command does with a config file, its options and the processes it runs in."""

import argparse
import difflib
import inspect
import os
import time
from pathlib import Path
from typing import Sequence

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmic.engine.config_errors import SHOWN, ConfigError, config_errors, load_config
from mmic.engine.options import ConfigOptions
from mmic.engine.safe_loading import read_safely
from mmic.files import check_folder

# What a config may set beside the arguments of mmengine's Runner.
FURTHER_KEYS = (
    *('auto_scale_lr', 'base_batch_size', 'compile', 'cudnn_benchmark', 'find_unused_parameters'),
    *('model_wrapper_cfg', 'runner_type', 'tta_model', 'tta_pipeline', 'custom_imports'),
)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that commands on a config share, named as in MMDetection."""
    parser.add_argument('config', help='config file')
    add_config_options(parser)


def add_config_options(parser):
    """Add ``--cfg-options``, named as in MMDetection."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        default={},
        metavar='KEY=VALUE',
        help='change settings of the config, for example model.backbone.depth=18 '
        'train_dataloader.batch_size=4; a list is written key="[a,b]", a name with commas or '
        'brackets key="\'a,b\'"',
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
    add_trust_argument(parser)


def add_trust_argument(parser):
    """Add the argument of commands that read a checkpoint."""
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


def read_config(args: argparse.Namespace, needed: Sequence[str] = ('model',)) -> Config:
    """Read the config a command was given, with its options, and set its default scope.

    From then on mmengine reads checkpoints without running code in them, unless
    ``trust_checkpoint`` is set.

    Args:
        args (argparse.Namespace): ``config`` and ``cfg_options``, and of commands that run
            the Runner also ``work_dir``, ``launcher``, ``local_rank``.
        needed (Sequence[str]): What the command takes from the config. Defaults to the model.

    Returns:
        Config

    Raises:
        FileNotFoundError: There is no such config.
        ConfigError: It cannot be read, lacks what is needed, or the options do not fit it.
        OSError: Nothing can be written in the work dir.
    """
    cfg = load_config(args.config)
    set_options(cfg, args.cfg_options, args.config)
    for name in needed:
        if not isinstance(cfg.get(name), (dict, list)) or (name == 'model' and not cfg.model):
            raise ConfigError(
                f'{args.config} has no {name}: expected a config of MMDetection, MMPose, '
                f'MMPretrain or MMSegmentation that sets {", ".join(needed)}.'
            )
    set_scope(cfg)
    read_safely(getattr(args, 'trust_checkpoint', False))
    if hasattr(args, 'launcher'):
        cfg.launcher = args.launcher
        cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
        check_folder(cfg.work_dir)
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
        if args.launcher == 'pytorch':
            start_processes_without_gpu(cfg)
    return cfg


def set_scope(cfg: Config) -> None:
    """Look types without a scope up in a config's package from now on.

    ``init_default_scope`` warns of each change, of which commands on several configs make many.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    DefaultScope.get_instance(f'{scope}-{time.perf_counter_ns()}', scope_name=scope)


def set_options(cfg: Config, options: dict, path: str) -> None:
    """Change settings of a config by ``--cfg-options``.

    Args:
        cfg (Config): The config; it is changed.
        options (dict[str, Any]): Values by the place of a setting.
        path (str): The config's file, for messages.

    Raises:
        ConfigError: A place begins with nothing that is in the config or read from one, or it
            goes on where there is nothing more.
    """
    known = {*cfg, *inspect.signature(Runner).parameters, *FURTHER_KEYS}
    for place in options:
        first = place.partition('.')[0]
        if first not in known:
            close = difflib.get_close_matches(first, known, 1)
            meant = f'; did you mean {place.replace(first, close[0], 1)}?' if close else '.'
            raise ConfigError(f'--cfg-options {place}: {path} has no {first}{meant}')
        # One by one, lest a value that does not fit is blamed on another.
        try:
            cfg.merge_from_dict({place: options[place]})
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            told = str(error.args[0] if error.args else error)[:SHOWN]
            raise ConfigError(f'--cfg-options {place} does not fit {path}: {told}') from error


def build_model(cfg: Config, path: str) -> nn.Module:
    """Build the model of a config.

    Args:
        cfg (Config): The config.
        path (str): Its file, for messages.

    Raises:
        ConfigError: It cannot be built: an unknown type or a value that does not fit.
    """
    with config_errors(path):
        return MODELS.build(cfg.model)


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
