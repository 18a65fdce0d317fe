"""All methods in one network on the toy task, with equal budgets and several seeds."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from mmic.engine.chain_runner import write_json
from mmic.engine.options import option_word
from mmic.engine.step_pool import PlannedStep
from mmic.engine.toy_chains import ToyChain, cfg_options, search_cr
from mmic.files import read_json

SAMPLES = 64  # images of the calibrated EDO
PLAIN = 'configs/toy/faster-rcnn_r18-4stages_fpn_toy.py'
IC_SUPERNET = 'configs/toy/faster-rcnn_ic-r18-4stages-k9-supernet_fpn_toy.py'
NATS_SUPERNET = 'configs/toy/faster-rcnn_nats-r18-4stages-supernet_fpn_toy.py'
PS = 'configs/toy/faster-rcnn_ps-r18-4stages_fpn_toy.py'
DO = 'configs/toy/faster-rcnn_do-r18-4stages_fpn_toy.py'
SETTING = ('epochs', 'num_train', 'num_val')  # one for all that is in a folder
SPLITS = {
    'nats_split': ('nats_weights', 'nats_alpha'),
    'cr_split': ('archtrain', 'archval'),
}


@dataclass(frozen=True)
class Network:
    """A row of the table.

    Attributes:
        title (str): What it is called there.
        config (str): That it is trained with.
        search (tuple[str]): The steps before its training that search for it.
    """

    title: str
    config: str = PLAIN
    search: Tuple[str, ...] = ()


# By the step that trains it.
NETWORKS = {
    'plain': Network('plain'),
    'ic': Network('IC (`--multiple 1`)', search=('ic_supernet', 'ic_search')),
    'ic_16': Network('IC (`--multiple 16`)', search=('ic_supernet', 'ic_16_search')),
    'ic_calibrated': Network(
        'IC (calibrated, `--statistics`)', search=('ic_supernet', 'ic_calibrated_search')
    ),
    'ps': Network('PS', PS),
    'do': Network('DO', DO),
    'nats': Network('NATS', search=('nats_supernet', 'nats_search')),
    'cr': Network(
        'CR',
        search=('stage_supernet', 'stage_search', 'operation_supernet', 'operation_search'),
    ),
}


# Seconds of steps in those of a training of the plain network; 1 is left out.
SHARES = {
    **dict(stage_supernet=0.6, stage_search=0.1, operation_supernet=0.6, operation_search=0.6),
    **dict(ic_supernet=2, ic=1.5, ic_calibrated=1.5),
    **dict(nats_supernet=1.9, nats=1.2, ps=1.2),
}


class PlannedChain(ToyChain):
    """A chain whose steps are written down instead of run.

    Args:
        root (Path): Of the repository.
        args (argparse.Namespace): See ``ToyChain``.
        prefix (str): In front of its steps' names. Defaults to ''.
        before (Sequence[PlannedStep]): What all of its steps need.
    """

    def __init__(self, root, args, prefix='', before=()):
        super().__init__(root, args, console=None)
        self.prefix, self.before, self.steps = prefix, [step.name for step in before], []

    def run(self, name, *command, writes=()):
        """Add a step; it needs those of this chain that wrote what its command names."""
        needs = [
            step.name
            for step in self.steps
            if any(file in word for file in step.writes for word in command)
        ]
        needs = (*self.before, *needs)
        self.steps.append(PlannedStep(self.prefix + name, command, tuple(writes), needs))


def plan_seed(chain):
    """Plan all trainings and searches of one seed, those with most behind them first.

    Every network goes on from a detector that was trained for as long as it is then trained
    itself: the plain one, since its weights fit, and for CR-NAS, which moves blocks, its own.
    """
    budget = chain.epochs()
    plain = chain.train('start', PLAIN, *budget)
    start = option_word('load_from', plain)

    def searched(kind, pattern):
        return [f'model.backbone.type=mmic.{kind}', option_word('model.backbone.pattern', pattern)]

    moved = searched('CRResNet', search_cr(chain))
    own = chain.train('cr_start', PLAIN, *budget, *moved)
    chain.train('cr', PLAIN, *budget, *moved, option_word('load_from', own))
    supernet = chain.train('ic_supernet', IC_SUPERNET, *budget, start)
    samples = str(min(SAMPLES, chain.args.num_train))
    calibrated = ['--statistics', IC_SUPERNET, '--samples', samples]
    calibrated += cfg_options(chain.data_options(IC_SUPERNET))
    searches = {'ic': (), 'ic_16': ('--multiple', '16'), 'ic_calibrated': calibrated}
    # position: every channel keeps its place, and so the weight that it starts from.
    for name, flags in searches.items():
        command = ['tools/edo_search.py', IC_SUPERNET, supernet, '--layout', 'position', *flags]
        pattern = chain.search(f'{name}_search', f'{name}.json', *command)
        chain.train(name, PLAIN, *budget, start, *searched('ICResNet', pattern))
    supernet = chain.train('nats_supernet', NATS_SUPERNET, *chain.bilevel_epochs(), start)
    command = ['tools/nats_search.py', NATS_SUPERNET, supernet, '--layout', 'position']
    pattern = chain.search('nats_search', 'nats.json', *command)
    chain.train('nats', PLAIN, *budget, start, *searched('NATSResNet', pattern))
    for name in ('ps', 'do', 'plain'):
        chain.train(name, NETWORKS[name].config, *budget, start)


def chain_args(args, seed=None):
    """The arguments of one seed's chain, in a folder of its own, or of what all seeds share."""
    folder = Path(args.work_dir)
    work_dir = folder if seed is None else folder / f'seed_{seed}'
    own = dict(seed=seed, work_dir=work_dir, data_root=folder / 'data')
    return argparse.Namespace(**{**vars(args), **own})


def keep_setting(args):
    """Write the setting of a comparison into its folder, or check it against the one there.

    Args:
        args (argparse.Namespace): See ``plan``.

    Returns:
        dict[str, int]: The setting.

    Raises:
        ValueError: The folder holds a comparison with another one.
        BadFileError: Its file is broken.
    """
    path = Path(args.work_dir) / 'setting.json'
    setting = {name: getattr(args, name) for name in SETTING}
    if path.is_file():
        there = read_json(path)
        if there != setting:
            raise ValueError(
                f'{args.work_dir} holds a comparison with {there}, and {setting} was asked for; '
                'pass another --work-dir.'
            )
    else:
        write_json(path, setting)
    return setting


def plan(root, args):
    """Plan the comparison.

    Args:
        root (Path): Of the repository.
        args (argparse.Namespace): ``work_dir``, ``seeds``, and ``epochs``, ``num_train``,
            ``num_val`` as ``ToyChain`` has them.

    Returns:
        list[PlannedStep]: Each behind those that it needs: the data and their splits once, then
        seed after seed.
    """
    data = PlannedChain(root, chain_args(args))
    data.make_data()
    for step, names in SPLITS.items():
        data.hold_out(*names, step=step)
    steps = list(data.steps)
    for seed in args.seeds:
        chain = PlannedChain(root, chain_args(args, seed), f'seed_{seed}/', data.steps)
        plan_seed(chain)
        steps += chain.steps
    return steps


def share(step):
    """How long a step takes about, in trainings of the plain network."""
    name = step.name.rpartition('/')[2]
    return SHARES.get(name, 1 if step.command[0] == 'tools/train.py' else 0.03)
