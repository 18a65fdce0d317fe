"""The whole chain on generated data: supernet, EDO, searched detector, AP side by side.

Every network is trained by the command that it prints. A plain detector is trained first;
from its checkpoint the plain, the supernet and the searched detector are then trained with
equal budgets.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
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
from mmic.files import write_file

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    'plain': 'configs/toy/faster-rcnn_r18_fpn_toy.py',
    'supernet': 'configs/toy/faster-rcnn_ic-r18-k9-supernet_fpn_toy.py',
    'searched': 'configs/toy/faster-rcnn_ic-r18-k9_fpn_toy.py',
}
DATA = Path('data/toy_coco')  # where the configs expect it
# "Epoch(train)  [2][20/40]  ... eta: 0:01:10", the log line of mmengine.
STEP = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]')
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
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder of all results')
    parser.add_argument('--data-root', default='data/toy_coco', help='toy data, made if missing')
    parser.add_argument('--seed', type=int, default=0, help='seed of weights and order of images')
    parser.add_argument('--epochs', type=int, help="epochs of each training; default: the configs'")
    parser.add_argument('--num-train', type=int, default=400, help='training images to make')
    parser.add_argument('--num-val', type=int, default=120, help='validation images to make')
    parser.add_argument('--smoke', action='store_true', help='one epoch on a few images, no use')
    args = parser.parse_args()
    if args.smoke:
        args.epochs, args.num_train, args.num_val = 1, 16, 8
    return args


class Demo:
    """The steps of the demo, which share a work dir and the options of every training."""

    def __init__(self, args):
        self.args = args
        self.work = from_root(args.work_dir)
        self.data = from_root(args.data_root)
        self.seconds = {}

    def run(self, name, *command):
        """Run a command of this repository, its output going to a log file, and time it."""
        log = self.work / f'{name}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        console.print(f'[bold]{name}[/]: python {shlex.join(command)}', highlight=False)
        start = time.perf_counter()
        columns = TextColumn('  {task.description}'), BarColumn(), TimeElapsedColumn()
        with open(log, 'w') as file, Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task('starting', total=None)
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
            )
            for line in process.stdout:
                file.write(line)
                found = STEP.search(line)
                if found:
                    epoch, step, steps = map(int, found.groups())
                    done = f'epoch {epoch}, step {step} of {steps}'
                    bar.update(task, description=done, total=steps, completed=step)
        self.seconds[name] = time.perf_counter() - start
        if process.wait():
            tail = '\n'.join(log.read_text().splitlines()[-15:])
            sys.exit(f'demo: {name} failed; the end of {log}:\n{tail}')
        console.print(f'  {self.seconds[name]:.0f} s, log: {log}', highlight=False)

    def train(self, name, network, *options):
        """Train one network; return its checkpoint."""
        options = [f'randomness.seed={self.args.seed}', *options, *self.epoch_options()]
        for loader in ('train', 'val', 'test') if self.data != DATA else ():
            options.append(f'{loader}_dataloader.dataset.data_root={self.data}')
        for metric in ('val', 'test') if self.data != DATA else ():
            options.append(f'{metric}_evaluator.ann_file={self.data}/annotations/val.json')
        folder = str(self.work / name)
        command = ['tools/train.py', CONFIGS[network], '--work-dir', folder]
        self.run(name, *command, '--cfg-options', *options)
        return from_root((ROOT / folder / 'last_checkpoint').read_text().strip())

    def epoch_options(self):
        """The settings that depend on the number of epochs."""
        keys = (
            'train_cfg.max_epochs',
            'train_cfg.val_interval',
            'default_hooks.checkpoint.interval',
        )
        keys += ('param_scheduler.1.T_max', 'param_scheduler.1.end')
        return [f'{key}={self.args.epochs}' for key in keys] if self.args.epochs else []

    def chain(self):
        """Make the data, train, search, train."""
        args, pattern = self.args, str(self.work / 'pattern.json')
        counts = ['--num-train', str(args.num_train), '--num-val', str(args.num_val)]
        self.run('data', 'tools/toy_coco.py', '--out', str(self.data), *counts)
        start = f'load_from={self.train("start", "plain")}'
        self.train('plain', 'plain', start)
        supernet = self.train('supernet', 'supernet', start)
        # position: every channel keeps its place, and so the weight that it starts from.
        search = ['--out', pattern, '--layout', 'position', '--overwrite']
        self.run('search', 'tools/edo_search.py', CONFIGS['supernet'], str(supernet), *search)
        picture = str(self.work / 'pattern.png')
        self.run('picture', 'tools/show_pattern.py', pattern, '--out', picture, '--overwrite')
        self.train('searched', 'searched', start, f'model.backbone.pattern={pattern}')


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


def summarise(demo):
    """Measure the three networks; return {network: {column: value}} and the models."""
    from mmdet.apis import init_detector

    results, models = {}, {}
    for name in CONFIGS:
        folder = ROOT / demo.work / name
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        config = folder / Path(CONFIGS[name]).name
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
    demo.chain()
    console.print('[bold]summary[/]: measuring, drawing detections')
    results, models = summarise(demo)
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
    main()
