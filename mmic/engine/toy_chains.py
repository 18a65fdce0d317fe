"""The methods' whole chains on the toy task, each step a command that a user would give.

A chain takes a ``ToyChain`` and returns the configs of the networks to compare, by name.
"""

from pathlib import Path

from mmic.engine.commands import CommandRunner
from mmic.engine.options import option_word
from mmic.engine.reproduce import last_checkpoint, load_config

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
        self.commands = CommandRunner(root, self.work, console)
        self.seconds = self.commands.seconds

    def from_root(self, path):
        """Return a path relative to the repository where it lies inside."""
        path = Path(path).resolve()
        return path.relative_to(self.root) if self.root in path.parents else path

    def run(self, name, *command, writes=()):
        """Run a step.

        Args:
            name (str): What it is called, in print and in its log's file name.
            *command (str): Script and arguments.
            writes (Sequence[str]): Files that later steps read.
        """
        for file in writes:
            # Scores that an earlier run of a search left are of another supernet.
            (self.root / file).with_suffix('.journal.jsonl').unlink(missing_ok=True)
        self.commands.run(name, *command)

    def make_data(self):
        """Draw the images, unless they are there."""
        counts = ['--num-train', str(self.args.num_train), '--num-val', str(self.args.num_val)]
        made = [f'{self.data}/annotations/{part}.json' for part in ('train', 'val')]
        self.run('data', 'tools/toy_coco.py', '--out', str(self.data), *counts, writes=made)

    def hold_out(self, *names, step='split'):
        """Split the training data into two files."""
        folder = f'{self.data}/annotations'
        part = ['--fraction', str(HELD_OUT), '--names', *names, '--out-dir', folder, '--overwrite']
        command = ['tools/coco_split.py', 'holdout', f'{folder}/train.json', *part]
        self.run(step, *command, writes=[f'{folder}/{name}.json' for name in names])

    def train(self, name, config, *options):
        """Train one network; return its checkpoint."""
        options = [f'randomness.seed={self.args.seed}', *options, *self.data_options(config)]
        folder = self.work / name
        epochs = self.args.epochs
        file = f'epoch_{epochs}.pth' if epochs else last_checkpoint(read_config(config))
        command = ['tools/train.py', config, '--work-dir', str(folder), '--cfg-options', *options]
        self.run(name, *command, writes=[str(folder / file)])
        return str(folder / file)

    def search(self, name, file, *command):
        """Run a search, which writes a file in the folder of all results; return its path."""
        out = str(self.work / file)
        # What is behind --cfg-options would be taken for more of them.
        place = command.index('--cfg-options') if '--cfg-options' in command else len(command)
        flags = ['--out', out, '--overwrite']
        self.run(name, *command[:place], *flags, *command[place:], writes=[out])
        return out

    def data_options(self, config):
        """Point all loaders and evaluators of a config to another folder of data than its own."""
        if self.data == DATA:
            return []
        cfg = read_config(config)
        loaders = ['train_dataloader', 'val_dataloader', 'test_dataloader']
        if 'alpha_dataloader' in cfg.train_cfg:
            loaders.append('train_cfg.alpha_dataloader')
        options = [option_word(f'{loader}.dataset.data_root', str(self.data)) for loader in loaders]
        for evaluator in ('val_evaluator', 'test_evaluator'):
            file = Path(cfg[evaluator].ann_file).relative_to(DATA)
            options.append(option_word(f'{evaluator}.ann_file', str(self.data / file)))
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

    def bilevel_epochs(self):
        """The same of a search with NATS: alpha rests in the first third, as in its config."""
        options = self.epochs('param_scheduler.weights')
        return [*options, f'train_cfg.freeze_epochs={self.args.epochs // 3}'] if options else []

    def show_pattern(self, pattern):
        """Draw the heat map of a pattern."""
        picture = str(self.work / 'pattern.png')
        self.run('picture', 'tools/show_pattern.py', pattern, '--out', picture, '--overwrite')


def read_config(path):
    """Read a config below ``configs/``, once."""
    return load_config(Path(path).relative_to('configs').as_posix())


def cfg_options(options):
    """Return the flag with its options, nothing without any."""
    return ['--cfg-options', *options] if options else []


def edo_chain(chain):
    """Supernet, EDO, searched network; all start from one plain detector."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r18_fpn_toy.py',
        'supernet': 'configs/toy/faster-rcnn_ic-r18-k9-supernet_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_ic-r18-k9_fpn_toy.py',
    }
    chain.make_data()
    options = chain.epochs()
    options.append(option_word('load_from', chain.train('start', configs['plain'], *options)))
    chain.train('plain', configs['plain'], *options)
    supernet = chain.train('supernet', configs['supernet'], *options)
    # position: every channel keeps its place, and so the weight that it starts from.
    command = ['tools/edo_search.py', configs['supernet'], supernet, '--layout', 'position']
    pattern = chain.search('search', 'pattern.json', *command)
    chain.show_pattern(pattern)
    options.append(option_word('model.backbone.pattern', pattern))
    chain.train('searched', configs['searched'], *options)
    return configs


def nats_chain(chain):
    """Bilevel search, decoding, searched network; all start from one plain detector."""
    configs = {
        'plain': 'configs/toy/faster-rcnn_r50_fpn_toy.py',
        'searched': 'configs/toy/faster-rcnn_nats-r50_fpn_toy.py',
    }
    supernet = 'configs/toy/faster-rcnn_nats-r50-supernet_fpn_toy.py'
    chain.make_data()
    chain.hold_out('nats_weights', 'nats_alpha')
    options = chain.epochs()
    start = option_word('load_from', chain.train('start', configs['plain'], *options))
    chain.train('plain', configs['plain'], *options, start)
    checkpoint = chain.train('search', supernet, *chain.bilevel_epochs(), start)
    # position: every channel keeps its place, and so the weight that it starts from.
    command = ['tools/nats_search.py', supernet, checkpoint, '--layout', 'position']
    pattern = chain.search('decode', 'pattern.json', *command)
    options += [start, option_word('model.backbone.pattern', pattern)]
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
    pattern = search_cr(chain)
    chain.show_pattern(pattern)
    chain.train('plain', configs['plain'], *chain.epochs())
    found = option_word('model.backbone.pattern', pattern)
    chain.train('searched', configs['searched'], *chain.epochs(), found)
    return configs


def search_cr(chain):
    """Train both supernets of CR-NAS and search; return the pattern."""
    options, found = chain.epochs(), []
    for kind, file in (('stage', 'stages.json'), ('operation', 'pattern.json')):
        config = f'configs/toy/faster-rcnn_cr-r18-{kind}-supernet_fpn_toy.py'
        checkpoint = chain.train(f'{kind}_supernet', config, *options, *found)
        seed = ['--seed', str(chain.args.seed)]
        command = ['tools/cr_search.py', kind, config, checkpoint, *seed]
        if HELD_OUT * chain.args.num_train > CR_IMAGES:
            command += ['--max-images', str(CR_IMAGES)]
        command += cfg_options([*found, *chain.data_options(config)])
        pattern = chain.search(f'{kind}_search', file, *command)
        found = ['model.backbone.arch=None', option_word('model.backbone.pattern', pattern)]
    return pattern


CHAINS = {'edo': edo_chain, 'nats': nats_chain, 'cr': cr_chain}
