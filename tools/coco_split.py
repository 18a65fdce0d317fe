"""Split files in COCO's format, so that a search chooses on images it was not trained on.

What the papers use:
  NATS     nats: weights on train2014, alphas on the 35K images of val2014 that are not in
           minival, which is val2017.
  CR-NAS   holdout: 5K training images held out as archval, on which networks are compared; the
           supernets are trained on the others, archtrain.

Images are not touched: a file's images are where those of the file it was split from are.
"""

import argparse

from rich.console import Console

from mmic.datasets.coco_split import split_holdout, split_nats
from mmic.engine.command_line import run
from mmic.files import check_folder


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument('--out-dir', required=True, metavar='DIR', help='where the files go')
    shared.add_argument('--overwrite', action='store_true', help='replace existing files')

    text = "the NATS search's two splits of COCO"
    nats = commands.add_parser(
        'nats',
        parents=[shared],
        help=text,
        description=f'Write {text}: train less val, and val less minival. With the 2017 images '
        'give train2017 as --train; both splits are then taken from it.',
    )
    nats.add_argument(
        '--train', required=True, metavar='FILE', help='annotations of train2014 or train2017'
    )
    nats.add_argument(
        '--val',
        required=True,
        metavar='FILE',
        help='annotations of val2014; with train2017 any file that lists its images',
    )
    nats.add_argument(
        '--minival', required=True, metavar='FILE', help='annotations of val2017, which is minival'
    )
    nats.add_argument(
        '--names',
        nargs=2,
        default=('nats_weights', 'nats_alpha'),
        metavar=('WEIGHTS', 'ALPHA'),
        help='names of the two files; default: nats_weights nats_alpha',
    )

    text = 'images held out of any file at random'
    holdout = commands.add_parser(
        'holdout',
        parents=[shared],
        help=text,
        description=f'Write two files: {text}, and the others. The draw depends on the image ids '
        'and the seed alone. CR-NAS: --num 5000 --names archtrain archval on train2017.',
    )
    holdout.add_argument('source', metavar='FILE', help="annotations in COCO's format")
    size = holdout.add_mutually_exclusive_group(required=True)
    size.add_argument('--num', type=int, metavar='N', help='how many images to hold out')
    size.add_argument(
        '--fraction', type=float, metavar='F', help='which share of the images, between 0 and 1'
    )
    holdout.add_argument('--seed', type=int, default=0, help='seed of the draw; default: 0')
    holdout.add_argument(
        '--minival',
        metavar='FILE',
        help='refuse if one of its images is in FILE: those that results are measured on',
    )
    holdout.add_argument(
        '--names',
        nargs=2,
        metavar=('KEPT', 'HELD_OUT'),
        help="names of the two files; default: FILE's with _train and with _heldout",
    )
    return parser.parse_args()


def main():
    split = {'nats': split_nats, 'holdout': split_holdout}
    arguments = vars(parse_args())
    check_folder(arguments['out_dir'])
    # Names of files are printed as they are, brackets included.
    console = Console(soft_wrap=True, markup=False, highlight=False)
    split[arguments.pop('command')](**arguments, say=console.print)


if __name__ == '__main__':
    run(main)
