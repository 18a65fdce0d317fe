"""A method's whole chain on generated data: supernet, search, searched detector, AP side by side.

Every network is trained by the command that it prints. A plain detector is trained first;
from its checkpoint the plain and the searched detector are then trained with equal budgets.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmic.analysis.compare import (
    METRICS,
    comparison_rows,
    detect,
    markdown_table,
    measure_cost,
    read_metrics,
)
from mmic.analysis.detections import plot_detections
from mmic.datasets.toy_scene import CLASSES, COMPANION_COLOURS
from mmic.engine.commands import CommandRunner
from mmic.files import write_file

ROOT = Path(__file__).resolve().parent.parent
DATA = Path('data/toy_coco')  # where the configs expect it
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
    parser.add_argument('--seed', type=int, default=0, help='seed of weights and order of images')
    parser.add_argument('--epochs', type=int, help="epochs of each training; default: the configs'")
    parser.add_argument('--num-train', type=int, default=400, help='training images to make')
    parser.add_argument('--num-val', type=int, default=120, help='validation images to make')
    parser.add_argument('--smoke', action='store_true', help='one epoch on a few images, no use')
    args = parser.parse_args()
    args.work_dir = args.work_dir or f'work_dirs/demo_{args.method}'
    if args.smoke:
        args.epochs, args.num_train, args.num_val = 1, 16, 8
    return args


class Demo:
    """What the steps of a chain share: data, folders, the options of every training."""

    def __init__(self, args):
        self.args = args
        self.work = from_root(args.work_dir)
        self.data = from_root(args.data_root)
        self.commands = CommandRunner(ROOT, self.work, console)
        self.run, self.seconds = self.commands.run, self.commands.seconds

    def make_data(self):
        counts = ['--num-train', str(self.args.num_train), '--num-val', str(self.args.num_val)]
        self.run('data', 'tools/toy_coco.py', '--out', str(self.data), *counts)

    def hold_out(self, *names):
        """Split the training data: the second file gets 40 %."""
        folder = f'{self.data}/annotations'
        part = ['--fraction', '0.4', '--names', *names, '--out-dir', folder, '--overwrite']
        self.run('split', 'tools/coco_split.py', 'holdout', f'{folder}/train.json', *part)

    def train(self, name, config, *options):
        """Train one network; return its checkpoint."""
        options = [f'randomness.seed={self.args.seed}', *options]
        if self.data != DATA:
            options += self.data_options(config)
        folder = str(self.work / name)
        command = ['tools/train.py', config, '--work-dir', folder]
        self.run(name, *command, '--cfg-options', *options)
        return str(from_root((ROOT / folder / 'last_checkpoint').read_text().strip()))

    def data_options(self, config):
        """Point all loaders and evaluators of a config to another folder of data."""
        loaders = ['train_dataloader', 'val_dataloader', 'test_dataloader']
        if 'nats' in config and 'supernet' in config:
            loaders.append('train_cfg.alpha_dataloader')
        options = [f'{loader}.dataset.data_root={self.data}' for loader in loaders]
        for metric in ('val', 'test'):
            options.append(f'{metric}_evaluator.ann_file={self.data}/annotations/val.json')
        return options

    def epochs(self, schedule='param_scheduler'):
        """The settings that depend on the number of epochs."""
        keys = (
            'train_cfg.max_epochs',
            'train_cfg.val_interval',
            'default_hooks.checkpoint.interval',
            f'{schedule}.1.T_max',
            f'{schedule}.1.end',
        )
        return [f'{key}={self.args.epochs}' for key in keys] if self.args.epochs else []

    def show_pattern(self, pattern):
        picture = str(self.work / 'pattern.png')
        self.run('picture', 'tools/show_pattern.py', pattern, '--out', picture, '--overwrite')


def edo_chain(demo):
    """Supernet, EDO, searched network; all start from one plain detector."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r18_fpn_toy.py',
        'supernet': 'configs/toy/faster-rcnn_ic-r18-k9-supernet_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_ic-r18-k9_fpn_toy.py',
    }
    pattern = str(demo.work / 'pattern.json')
    demo.make_data()
    options = demo.epochs()
    options.append(f'load_from={demo.train("start", configs["plain"], *options)}')
    demo.train('plain', configs['plain'], *options)
    supernet = demo.train('supernet', configs['supernet'], *options)
    # position: every channel keeps its place, and so the weight that it starts from.
    search = ['--out', pattern, '--layout', 'position', '--overwrite']
    demo.run('search', 'tools/edo_search.py', configs['supernet'], supernet, *search)
    demo.show_pattern(pattern)
    options.append(f'model.backbone.pattern={pattern}')
    demo.train('searched', configs['searched'], *options)
    return configs


def nats_chain(demo):
    """Bilevel search, decoding, searched network; all start from one plain detector."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r50_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_nats-r50_fpn_toy.py',
    }
    supernet = 'configs/toy/faster-rcnn_nats-r50-supernet_fpn_toy.py'
    pattern = str(demo.work / 'pattern.json')
    demo.make_data()
    demo.hold_out('nats_weights', 'nats_alpha')
    options = demo.epochs()
    start = f'load_from={demo.train("start", configs["plain"], *options)}'
    demo.train('plain', configs['plain'], *options, start)
    search = demo.epochs('param_scheduler.weights')
    if search:
        search.append('train_cfg.freeze_epochs=0')
    checkpoint = demo.train('search', supernet, *search, start)
    # position: every channel keeps its place, and so the weight that it starts from.
    search = ['--out', pattern, '--layout', 'position', '--overwrite']
    demo.run('decode', 'tools/nats_search.py', supernet, checkpoint, *search)
    options += [start, f'model.backbone.pattern={pattern}']
    checkpoint = demo.train('searched', configs['searched'], *options)
    config = str(demo.work / 'searched' / Path(configs['searched']).name)
    demo.run('test', 'tools/test.py', config, checkpoint, '--work-dir', str(demo.work / 'test'))
    return configs


CHAINS = {'edo': edo_chain, 'nats': nats_chain}


def from_root(path):
    """Return a path relative to the repository where it lies inside."""
    path = Path(path).resolve()
    return path.relative_to(ROOT) if ROOT in path.parents else path


def show_detections(demo, models, path, shown=4):
    """Draw ground truth and detections on the first validation images with large objects."""
    data = ROOT / demo.data
    content = json.loads((data / 'annotations' / 'val.json').read_text())
    truth = {image['id']: [] for image in content['images']}
    largest = dict.fromkeys(truth, 0)
    for item in content['annotations']:
        x, y, width, height = item['bbox']
        box = (x, y, x + width, y + height)
        truth[item['image_id']].append((box, item['category_id'] - 1, None))
        largest[item['image_id']] = max(largest[item['image_id']], item['area'])
    chosen = sorted(content['images'], key=lambda image: largest[image['id']] < 96**2)[:shown]
    files = [str(data / 'val' / image['file_name']) for image in chosen]
    columns = {'ground truth': [truth[image['id']] for image in chosen]}
    columns.update({name: detect(models[name], files) for name in ('plain', 'searched')})
    write_file(
        ROOT / path,
        lambda name: plot_detections(files, columns, CLASSES, COMPANION_COLOURS, name),
        overwrite=True,
    )


def summarise(demo, configs):
    """Measure the networks; return {network: {column: value}} and the models."""
    from mmdet.apis import init_detector

    results, models = {}, {}
    for name in configs:
        folder = ROOT / demo.work / name
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        config = folder / Path(configs[name]).name
        model = models[name] = init_detector(str(config), str(ROOT / checkpoint), device='cpu')
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
    same = all(plain[name] == searched[name] for name in ('params', 'backbone MACs'))
    cost = 'the same parameters and multiply-adds' if same else 'ANOTHER cost'
    listed = ', '.join(f'{metric} {gain:+.1f}' for metric, gain in gains.items())
    return f'The searched network, of {cost}, is {word} the plain one: {listed}. {CAVEAT}'


def main():
    args = parse_args()
    demo = Demo(args)
    start = time.perf_counter()
    configs = CHAINS[args.method](demo)
    console.print('[bold]summary[/]: measuring, drawing detections')
    results, models = summarise(demo, configs)
    show_detections(demo, models, demo.work / 'detections.png')
    rows, said = comparison_rows(results), verdict(results)
    table = Table(*rows[0], title='Equal budgets from one checkpoint of the plain detector')
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
    console.print(said)
    markdown = f'{markdown_table(rows)}\n\n{said}\n'
    content = dict(networks=results, seconds=demo.seconds, seed=args.seed, verdict=said)
    for name, text in (('table.md', markdown), ('results.json', json.dumps(content, indent=1))):
        write_file(ROOT / demo.work / name, lambda n, t=text: Path(n).write_text(t), overwrite=True)
    console.print(
        f'{time.perf_counter() - start:.0f} s in all. In {demo.work}: table.md, results.json, '
        'pattern.json, pattern.png (its heat map), detections.png'
    )


if __name__ == '__main__':
    try:
        main()
    except (RuntimeError, OSError) as error:
        sys.exit(f'demo: {error}')
