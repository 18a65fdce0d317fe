"""Draw curves of trainings side by side, as training and validation error (DO-Conv, Figure 5).

Reads the scalars that mmengine logs, in WORK_DIR/*/vis_data/scalars.json; a training that was
resumed has several of them.
"""

import argparse

from mmic.analysis.curves import curve_figure, read_curves, run_names
from mmic.engine.command_line import run
from mmic.files import check_new, write_file

# Of MMPretrain: the training's, where a config's head has cal_acc=True, and the validation's.
KEYS = ['error_top-1', 'error/top1']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='work dir of a training')
    parser.add_argument(
        '--keys',
        nargs='+',
        default=KEYS,
        metavar='NAME',
        help='what to draw, by its name in scalars.json, for example loss or coco/bbox_mAP; '
        '"error" in place of "accuracy" draws 100 less it; default: '
        f'{" ".join(KEYS)}, of training and of validation',
    )
    parser.add_argument(
        '--labels', nargs='+', metavar='TEXT', help='names of the trainings; default: the folders'
    )
    parser.add_argument('--title', help='title of the picture; default: none')
    parser.add_argument('--out', required=True, metavar='FILE', help='picture to write, .png')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    return parser.parse_args()


def main():
    args = parse_args()
    check_new(args.out, args.overwrite)
    names = run_names(args.work_dirs, args.labels)
    curves = [
        curve
        for folder, name in zip(args.work_dirs, names)
        for curve in read_curves(folder, args.keys, name)
    ]
    figure = curve_figure(curves, args.title)
    write_file(args.out, lambda name: figure.savefig(name, dpi=120), args.overwrite)
    for curve in curves:
        last = max(curve.values)
        print(f'{curve.run}: {curve.key} {curve.values[last]:.4g} at {curve.unit} {last}')
    print(f'Wrote {args.out}')


if __name__ == '__main__':
    run(main)
