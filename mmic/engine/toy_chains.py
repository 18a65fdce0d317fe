"""The methods' whole chains on the toy task, each step a command that a user would give.

A chain takes a ``ToyChain`` and returns the configs of the networks to compare, by name.
"""

from pathlib import Path

from mmengine.config import Config

from mmic.engine.commands import CommandRunner

DATA = Path('data/toy_coco')  # where the configs expect it
HELD_OUT = 0.4  # of the training images, for a search to choose on
CR_IMAGES = 64  # of those, what CR-NAS scores a network on


class ToyChain:
    """What the steps of a chain share: data, folders, the options of every training.

    Args:
        root (Path): Of the repository, whose commands and configs are run.
        args (argparse.Namespace): ``work_dir``, ``data_root``, ``num_train``, ``num_val``,
            ``seed``, and ``epochs`` of each training or None for the configs'.
        console (rich.console.Console): Where to tell what runs.

    Attributes:
        work (Path): Folder of all results, relative to ``root`` where it lies inside.
        data (Path): Folder of the data, alike.
        seconds (dict[str, float]): How long each step took, by its name.
    """

    def __init__(self, root, args, console):
        self.root, self.args = root, args
        self.work = self.from_root(args.work_dir)
        self.data = self.from_root(args.data_root)
        commands = CommandRunner(root, self.work, console)
        self.run, self.seconds = commands.run, commands.seconds

    def from_root(self, path):
        """Return a path relative to the repository where it lies inside."""
        path = Path(path).resolve()
        return path.relative_to(self.root) if self.root in path.parents else path

    def make_data(self):
        """Draw the images, unless they are there."""
        counts = ['--num-train', str(self.args.num_train), '--num-val', str(self.args.num_val)]
        self.run('data', 'tools/toy_coco.py', '--out', str(self.data), *counts)

    def hold_out(self, *names):
        """Split the training data into two files."""
        folder = f'{self.data}/annotations'
        part = ['--fraction', str(HELD_OUT), '--names', *names, '--out-dir', folder, '--overwrite']
        self.run('split', 'tools/coco_split.py', 'holdout', f'{folder}/train.json', *part)

    def train(self, name, config, *options):
        """Train one network; return its checkpoint."""
        options = [f'randomness.seed={self.args.seed}', *options, *self.data_options(config)]
        folder = str(self.work / name)
        command = ['tools/train.py', config, '--work-dir', folder]
        self.run(name, *command, '--cfg-options', *options)
        return str(self.from_root((self.root / folder / 'last_checkpoint').read_text().strip()))

    def data_options(self, config):
        """Point all loaders and evaluators of a config to another folder of data than its own."""
        if self.data == DATA:
            return []
        cfg = Config.fromfile(self.root / config)
        loaders = ['train_dataloader', 'val_dataloader', 'test_dataloader']
        if 'alpha_dataloader' in cfg.train_cfg:
            loaders.append('train_cfg.alpha_dataloader')
        options = [f'{loader}.dataset.data_root={self.data}' for loader in loaders]
        for evaluator in ('val_evaluator', 'test_evaluator'):
            file = Path(cfg[evaluator].ann_file).relative_to(DATA)
            options.append(f'{evaluator}.ann_file={self.data / file}')
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
        """Draw the heat map of a pattern."""
        picture = str(self.work / 'pattern.png')
        self.run('picture', 'tools/show_pattern.py', pattern, '--out', picture, '--overwrite')


def edo_chain(chain):
    """Supernet, EDO, searched network; all start from one plain detector."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r18_fpn_toy.py',
        'supernet': 'configs/toy/faster-rcnn_ic-r18-k9-supernet_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_ic-r18-k9_fpn_toy.py',
    }
    pattern = str(chain.work / 'pattern.json')
    chain.make_data()
    options = chain.epochs()
    options.append(f'load_from={chain.train("start", configs["plain"], *options)}')
    chain.train('plain', configs['plain'], *options)
    supernet = chain.train('supernet', configs['supernet'], *options)
    # position: every channel keeps its place, and so the weight that it starts from.
    search = ['--out', pattern, '--layout', 'position', '--overwrite']
    chain.run('search', 'tools/edo_search.py', configs['supernet'], supernet, *search)
    chain.show_pattern(pattern)
    options.append(f'model.backbone.pattern={pattern}')
    chain.train('searched', configs['searched'], *options)
    return configs


def nats_chain(chain):
    """Bilevel search, decoding, searched network; all start from one plain detector."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r50_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_nats-r50_fpn_toy.py',
    }
    supernet = 'configs/toy/faster-rcnn_nats-r50-supernet_fpn_toy.py'
    pattern = str(chain.work / 'pattern.json')
    chain.make_data()
    chain.hold_out('nats_weights', 'nats_alpha')
    options = chain.epochs()
    start = f'load_from={chain.train("start", configs["plain"], *options)}'
    chain.train('plain', configs['plain'], *options, start)
    search = chain.epochs('param_scheduler.weights')
    if search:
        search.append('train_cfg.freeze_epochs=0')
    checkpoint = chain.train('search', supernet, *search, start)
    # position: every channel keeps its place, and so the weight that it starts from.
    search = ['--out', pattern, '--layout', 'position', '--overwrite']
    chain.run('decode', 'tools/nats_search.py', supernet, checkpoint, *search)
    options += [start, f'model.backbone.pattern={pattern}']
    checkpoint = chain.train('searched', configs['searched'], *options)
    config = str(chain.work / 'searched' / Path(configs['searched']).name)
    chain.run('test', 'tools/test.py', config, checkpoint, '--work-dir', str(chain.work / 'test'))
    return configs


def cr_chain(chain):
    """Stage supernet and search, operation supernet and search, searched network from scratch."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r18-4stages_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_cr-r18_fpn_toy.py',
    }
    chain.make_data()
    chain.hold_out('archtrain', 'archval')
    options, found = chain.epochs(), []
    for kind, file in (('stage', 'stages.json'), ('operation', 'pattern.json')):
        config = f'configs/toy/faster-rcnn_cr-r18-{kind}-supernet_fpn_toy.py'
        checkpoint = chain.train(f'{kind}_supernet', config, *options, *found)
        command = ['tools/cr_search.py', kind, config, checkpoint, '--overwrite']
        command += ['--out', str(chain.work / file)]
        if HELD_OUT * chain.args.num_train > CR_IMAGES:
            command += ['--max-images', str(CR_IMAGES)]
        # Scores of another run of the demo are of another supernet.
        (chain.root / chain.work / file).with_suffix('.journal.jsonl').unlink(missing_ok=True)
        changes = [*found, *chain.data_options(config)]
        chain.run(f'{kind}_search', *command, *(['--cfg-options', *changes] if changes else []))
        found = ['model.backbone.arch=None', f'model.backbone.pattern={chain.work / file}']
    chain.show_pattern(str(chain.work / 'pattern.json'))
    chain.train('plain', configs['plain'], *options)
    chain.train('searched', configs['searched'], *options, found[-1])
    return configs


CHAINS = {'edo': edo_chain, 'nats': nats_chain, 'cr': cr_chain}
