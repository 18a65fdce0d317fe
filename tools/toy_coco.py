"""Make the toy task: generated images in COCO's format that reward receptive field."""

import argparse

from rich.progress import MofNCompleteColumn, Progress

from mmic.datasets import make_toy_coco
from mmic.engine.command_line import run


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--out', default='data/toy_coco', help='folder to make')
    parser.add_argument('--num-train', type=int, default=400, help='training images')
    parser.add_argument('--num-val', type=int, default=120, help='validation images')
    parser.add_argument('--image-size', type=int, default=256, help='side of an image in pixels')
    parser.add_argument('--seed', type=int, default=0, help='seed of everything random')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace toy data of other parameters'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task('drawing', total=args.num_train + args.num_val)
        root = make_toy_coco(
            args.out,
            args.num_train,
            args.num_val,
            args.image_size,
            args.seed,
            args.overwrite,
            on_image=lambda: bar.advance(task),
        )
        made = bar.tasks[task].completed
    print(f'{"Made" if made else "Found, with the same parameters:"} {root.resolve()}')


if __name__ == '__main__':
    run(main)
