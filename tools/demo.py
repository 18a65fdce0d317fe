"""A method's whole chain on generated data: supernet, search, searched detector, AP side by side.

Every network is trained by the command that it prints. A plain detector is trained first;
from its checkpoint the plain and the searched detector are then trained with equal budgets.
With CR-NAS both start from scratch, since no weights fit a network whose blocks have moved.
"""

import argparse
import json
import os
import time
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmic.analysis.compare import (
    METRICS,
    cell,
    comparison_rows,
    markdown_table,
    measure_cost,
    read_metrics,
)
from mmic.analysis.detections import detections_figure
from mmic.analysis.detectors import (
    build_dataset,
    choose_images,
    class_looks,
    detect,
    ground_truth,
    load_detector,
)
from mmic.engine.arguments import whole
from mmic.engine.command_line import run
from mmic.engine.tables import print_table
from mmic.engine.toy_chains import CHAINS, ToyChain
from mmic.files import check_folder, write_file

ROOT = Path(__file__).resolve().parent.parent
# Their convolutions of 8 channels take several times as long on two threads as on one; the wide
# kernels of EDO's supernet gain by a second one.
ONE_THREAD = ('nats', 'cr')
IMAGE_SIZE = 256  # what the configs resize to
CAVEAT = (
    'One run of one seed on a small validation set: compare several --seed before reading '
    'much into a difference of a few points.'
)
console = Console(soft_wrap=True)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        'method', nargs='?', choices=sorted(CHAINS), default='edo', help='what searches'
    )
    parser.add_argument('--work-dir', help='folder of all results; if None, work_dirs/demo_METHOD')
    parser.add_argument('--data-root', default='data/toy_coco', help='toy data, made if missing')
    parser.add_argument('--seed', type=whole(0), default=0, help='of weights and order of images')
    parser.add_argument('--epochs', type=whole(1), help="of each training; default: the configs'")
    parser.add_argument('--num-train', type=whole(1), default=400, help='training images to make')
    parser.add_argument('--num-val', type=whole(1), default=120, help='validation images to make')
    parser.add_argument('--smoke', action='store_true', help='one epoch on a few images, no use')
    args = parser.parse_args()
    args.work_dir = args.work_dir or f'work_dirs/demo_{args.method}'
    if args.smoke:
        args.epochs, args.num_train, args.num_val = 1, 16, 8
    return args


def show_detections(models, path, shown=4):
    """Draw ground truth and detections on the first validation images with large objects.

    Args:
        models (dict[str, nn.Module]): From ``load_detector``.
        path (Path): The picture.
        shown (int): How many images. Defaults to 4.
    """
    dataset = build_dataset(models['plain'].cfg)
    looks = class_looks(dataset)
    infos = choose_images(dataset, None, len(dataset))
    infos = sorted(infos, key=lambda info: largest_area(info) < 96**2)[:shown]
    images = {f'image {info["img_id"]}': info['img_path'] for info in infos}
    columns = {'ground truth': [ground_truth(info, looks, masks=False) for info in infos]}
    for name in ('plain', 'searched'):
        columns[name] = detect(models[name], images.values(), looks)
    figure = detections_figure(images, columns)
    write_file(path, lambda name: figure.savefig(name, dpi=110), overwrite=True)


def largest_area(info):
    """Area of an image's largest box, in square pixels."""
    boxes = [item['bbox'] for item in info['instances']]
    return max(((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes), default=0)


def summarise(demo, configs):
    """Measure the networks; return {network: {column: value}} and the models."""
    results, models = {}, {}
    for name in configs:
        folder = ROOT / demo.work / name
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        config = folder / Path(configs[name]).name
        model = models[name] = load_detector(Config.fromfile(config), str(ROOT / checkpoint))
        results[name] = {
            **read_metrics(folder),
            **measure_cost(model, IMAGE_SIZE),
            'seconds': round(demo.seconds[name], 1),
        }
    return results, models


def verdict(results):
    """Say how the searched network compares with the plain one, whichever way it falls."""
    plain, searched = results['plain'], results['searched']
    gains = {
        metric: searched[metric] - plain[metric]
        for metric in METRICS
        if None not in (plain[metric], searched[metric])
    }
    if not gains:
        return 'The validation set has nothing to compare on.'
    word = 'above' if gains['AP'] > 0 else 'not above'
    costs = [
        ' and '.join(f'{cell(name, network[name])} {name}' for name in ('params', 'backbone MACs'))
        for network in (searched, plain)
    ]
    cost = costs[0] if costs[0] != costs[1] else 'the same parameters and multiply-adds'
    against = f' ({costs[1]})' if costs[0] != costs[1] else ''
    listed = ', '.join(f'{metric} {gain:+.1f}' for metric, gain in gains.items())
    return f'The searched network, of {cost}, is {word} the plain one{against}: {listed}. {CAVEAT}'


def main():
    args = parse_args()
    if args.method in ONE_THREAD:
        os.environ.setdefault('OMP_NUM_THREADS', '1')
    check_folder(args.work_dir)
    demo = ToyChain(ROOT, args, console)
    start = time.perf_counter()
    configs = CHAINS[args.method](demo)
    console.print('[bold]summary[/]: measuring, drawing detections')
    results, models = summarise(demo, configs)
    show_detections(models, ROOT / demo.work / 'detections.png')
    rows, said = comparison_rows(results), verdict(results)
    table = Table(*rows[0], title='Equal budgets, from equal starts')
    for column in table.columns:
        column.no_wrap = True
    for row in rows[1:]:
        table.add_row(*row)
    print_table(console, table)
    console.print(said)
    markdown = f'{markdown_table(rows)}\n\n{said}\n'
    content = dict(networks=results, seconds=demo.seconds, seed=args.seed, verdict=said)
    for name, text in (('table.md', markdown), ('results.json', json.dumps(content, indent=1))):
        write_file(ROOT / demo.work / name, lambda n, t=text: Path(n).write_text(t), overwrite=True)
    console.print(
        f'{time.perf_counter() - start:.0f} s in all. In {demo.work}: table.md, results.json, '
        'pattern.json, pattern.png (its picture), detections.png'
    )


if __name__ == '__main__':
    run(main, (RuntimeError, ValueError))
