"""Make generated data in the formats of the data sets that configs name, to try any config with.

The folder stands for `data/`: what a config names data/coco/... is made at OUT/coco/...
"""

import argparse

from rich.progress import Progress, SpinnerColumn, TextColumn

from mmic.datasets.generated import FORMATS, make_generated
from mmic.engine.command_line import run


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--out', default='data_generated', help='folder to make')
    parser.add_argument(
        '--formats', nargs='+', default=list(FORMATS), choices=FORMATS, help='data sets to imitate'
    )
    parser.add_argument(
        '--num-train', type=int, default=8, help='images of each training set, at least 2'
    )
    parser.add_argument('--num-val', type=int, default=4, help='images of each validation set')
    parser.add_argument('--seed', type=int, default=0, help='seed of everything random')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace generated data of other parameters'
    )
    return parser.parse_args()


def main():
    args = vars(parse_args())
    root = args.pop('out')
    columns = SpinnerColumn(), TextColumn('{task.completed:.0f} images drawn')
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task('', total=None)
        root = make_generated(root, **args, on_image=lambda: bar.advance(task))
        made = int(bar.tasks[task].completed)
    done = f'Made {made} images in' if made else 'Found, with the same parameters:'
    print(f'{done} {root.resolve()} ({", ".join(args["formats"])})')


if __name__ == '__main__':
    run(main)
