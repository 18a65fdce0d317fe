"""Draw what detectors find, side by side on the same images, with boxes and masks.

Images are those of the first config's test set, or files of your own.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from mmic.analysis.detections import detections_figure, read_image
from mmic.analysis.detectors import (
    build_dataset,
    choose_images,
    class_looks,
    detect,
    ground_truth,
    load_detector,
)
from mmic.engine.command_line import run
from mmic.engine.config import add_checkpoint_arguments, add_config_options, read_config
from mmic.engine.config_errors import config_errors
from mmic.files import check_outputs, write_file


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        'files',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='config of each detector, with its checkpoint behind it',
    )
    parser.add_argument('--out', required=True, metavar='PNG', help='picture to write')
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='ID | FILE',
        help="ids of images in the annotation file of the first config's test set, or image files; "
        'default: the first --num of the test set',
    )
    parser.add_argument('--num', type=int, help='images to draw without --images; default: 4')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='leave out detections below this score, 0 to 1; default: 0.3',
    )
    parser.add_argument(
        '--ground-truth', action='store_true', help='draw the annotated objects in a first column'
    )
    parser.add_argument(
        '--names', nargs='+', metavar='NAME', help='of the detectors; default: the configs'
    )
    parser.add_argument('--dpi', type=int, default=150, help='pixels an inch; default: 150')
    parser.add_argument(
        '--device', default='cpu', help='where to compute, cpu or cuda; default: cpu'
    )
    add_config_options(parser)
    add_checkpoint_arguments(parser)
    args = parser.parse_args()
    try:
        args.detectors = pair_files(args.files, args.names)
        torch.zeros(1, device=args.device)
    # torch raises AssertionError where it was built without CUDA.
    except (ValueError, RuntimeError, AssertionError) as error:
        parser.error(str(error).splitlines()[0])
    if args.images and args.num is not None:
        parser.error('--num counts images of the test set; --images names them')
    for name, value, top in (('--num', args.num, None), ('--dpi', args.dpi, 1000)):
        if value is not None and not 1 <= value <= (top or value):
            parser.error(f'{name} is at least 1{f" and at most {top}" if top else ""}, got {value}')
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr is from 0 to 1, got {args.score_thr}')
    return args


def pair_files(files, names):
    """Sort ``CONFIG CHECKPOINT CONFIG CHECKPOINT ...`` into ``{name: (config, checkpoint)}``."""
    pairs = list(zip(files[::2], files[1::2]))
    for config, checkpoint in pairs:
        if Path(config).suffix != '.py' or Path(checkpoint).suffix == '.py':
            raise ValueError(
                f'each config (.py) stands before its checkpoint, got {config} {checkpoint}'
            )
    if len(files) % 2:
        raise ValueError(f'{files[-1]} has no checkpoint behind it')
    if names is None:
        names = [Path(config).stem for config, _ in pairs]
        if len(set(names)) < len(names):  # one config, several trainings
            names = [checkpoint for _, checkpoint in pairs]
    if len(names) != len(pairs) or len(set(names)) < len(names):
        raise ValueError(f'--names takes {len(pairs)} different names, got {names}')
    return dict(zip(names, pairs))


def find_images(args, cfg):
    """The images to draw, in order.

    Returns:
        dict[str, dict]: By label: what the data set knows of an image of its own, or the
        ``img_path`` of another one.
    """
    wanted = args.images or []
    ids = [image for image in wanted if not Path(image).is_file()]
    if args.ground_truth and len(ids) < len(wanted):
        raise ValueError('--ground-truth takes images of the test set, by their ids')
    if len(set(wanted)) < len(wanted):
        raise ValueError(f'--images: one stands twice in {" ".join(wanted)}')
    known = {}
    if ids or not wanted:
        infos = choose_images(build_dataset(cfg), ids if wanted else None, args.num or 4)
        known = {str(info['img_id']): info for info in infos}
    return {image: known.get(image) or {'img_path': image} for image in wanted or known}


def label_images(images):
    """What stands beside each row: ids, and the names of files where they differ."""
    short = [Path(image).name for image in images]
    return [f'image {name}' for name in (short if len(set(short)) == len(short) else images)]


def main():
    args = parse_args()
    # Names of files and networks are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False, highlight=False)
    check_outputs([args.out], args.files, args.overwrite)
    configs = {
        name: read_config(argparse.Namespace(config=config, cfg_options=args.cfg_options))
        for name, (config, _) in args.detectors.items()
    }
    first = next(iter(configs.values()))
    with config_errors(first.filename):
        images = find_images(args, first)
    paths = [info['img_path'] for info in images.values()]
    for path in paths:
        read_image(path)  # before minutes are spent
    columns, looks = {}, {}
    with Progress(console=console) as progress:
        for name in progress.track(configs, description='Detecting'):
            config, checkpoint = args.detectors[name]
            with config_errors(config):
                model = load_detector(configs[name], checkpoint, args.trust_checkpoint, args.device)
                looks[name] = class_looks(build_dataset(configs[name], lazy=True))
            columns[name] = detect(model, paths, looks[name], args.score_thr)
    if args.ground_truth:
        masks = any(
            one.mask is not None for column in columns.values() for f in column for one in f
        )
        own = looks[next(iter(configs))]
        truth = [ground_truth(info, own, masks) for info in images.values()]
        columns = {'ground truth': truth, **columns}
    figure = detections_figure(dict(zip(label_images(images), paths)), columns)
    for name, found in columns.items():
        console.print(f'{name}: {", ".join(str(len(instances)) for instances in found)} objects')
    write_file(args.out, lambda name: figure.savefig(name, dpi=args.dpi), args.overwrite)
    console.print(f'Wrote {args.out}')


if __name__ == '__main__':
    run(main)
