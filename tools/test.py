"""Test a checkpoint with a config of mmdet, mmpose, mmpretrain or mmseg."""

import argparse
from pathlib import Path

from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

from mmic.engine.command_line import files_in, run
from mmic.engine.config import add_runner_arguments, add_trust_argument, read_config
from mmic.engine.config_errors import ConfigError, config_errors
from mmic.engine.safe_loading import CheckpointFitHook
from mmic.engine.v1_compatible import add_v1_compatible, v1_compatible
from mmic.files import check_folder, check_outputs

NEEDED = ('model', 'test_dataloader', 'test_evaluator')

# The four packages' visualisation hooks name their switch and their folder differently.
VISUALIZATION = {
    'DetVisualizationHook': ('draw', 'test_out_dir'),
    'SegVisualizationHook': ('draw', None),
    'PoseVisualizationHook': ('enable', 'out_dir'),
    'VisualizationHook': ('enable', 'out_dir'),
}


def enable_visualization(cfg, args, parser):
    """Switch on the config's visualisation hook for ``--show`` and ``--show-dir``."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        parser.error(f'{args.config} has no default_hooks.visualization to show results with')
    switch, folder = VISUALIZATION[hook.type.rpartition('.')[2]]
    hook[switch] = True
    hook.show = args.show
    hook.wait_time = args.wait_time
    if args.show_dir and folder:
        hook[folder] = args.show_dir
    elif args.show_dir:
        cfg.visualizer.save_dir = args.show_dir


def use_tta(cfg, args, parser):
    """Put the config's model for several views in place of the one for one view."""
    missing = [name for name in ('tta_model', 'tta_pipeline') if name not in cfg]
    if missing:
        parser.error(f'--tta needs {" and ".join(missing)} in {args.config}')
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_runner_arguments(parser)
    add_v1_compatible(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE.pkl', help='also write all predictions there')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test the views of the config's tta_pipeline and merge them as its tta_model does",
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures of predictions there')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a window stays open')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing --out')
    add_trust_argument(parser)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out writes a pickle file, its name must end in .pkl; got {args.out}')
    check_outputs([args.out], [args.config, args.checkpoint], args.overwrite)
    if '://' not in args.checkpoint and not Path(args.checkpoint).expanduser().is_file():
        raise FileNotFoundError(f'There is no checkpoint {args.checkpoint}.')
    cfg = read_config(args, NEEDED)
    if args.v1_compatible:
        cfg = v1_compatible(cfg)
    if args.tta:
        use_tta(cfg, args, parser)
    cfg.load_from = args.checkpoint
    if args.show_dir:
        # The hooks would put a relative folder below the work dir.
        args.show_dir = str(Path(args.show_dir).absolute())
        check_folder(args.show_dir)
    if args.show or args.show_dir:
        enable_visualization(cfg, args, parser)
    with config_errors(args.config):
        runner = Runner.from_cfg(cfg)
    runner.register_hook(CheckpointFitHook())
    if args.out:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    with config_errors(args.config, running=True), files_in(cfg.work_dir):
        runner.test()


if __name__ == '__main__':
    # Of an error in the midst of a test a line tells too little.
    run(main, (ConfigError,))
