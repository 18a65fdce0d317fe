"""The chain of a printed result at a small size, on generated data, in a folder of its own."""

import dataclasses
import zlib
from pathlib import Path

from mmic.datasets.generated import make_generated
from mmic.engine.config_walk import config_nodes
from mmic.engine.reproduce import Step, config_of, last_checkpoint, load_config, steps_of
from mmic.engine.row_steps import SPLIT, TEST, TRAIN, test_folder
from mmic.engine.rows import ROOT, find_row, resolve
from mmic.engine.trial import data_formats, trial_config

# One row, or two that share their training, for each family of networks and tasks.
TOY_CHAINS = {
    'IC detection': ['ic.t3.faster_rcnn.r50'],
    'IC segmentation': ['ic.t6.cascade_mask_rcnn.r50'],
    'IC pose': ['ic.t8.ae.r50.ss', 'ic.t8.ae.r50.ms'],
    'IC classification': ['ic.t1.r18'],
    'PS': ['ps.t8.faster_rcnn.r50'],
    'NATS': ['nats.t6.faster_rcnn.r50'],
    'CR': ['cr.t6.r18'],
    'DO segmentation': ['do.t4.deeplabv3.cityscapes.both'],
}
NUM_TRAIN, NUM_VAL = 8, 4
LR_FACTOR = 0.01  # four steps from random weights at the configs' rates end in NaN
RUNS = 2  # of rows that are the mean of several
HELD_OUT = 2  # images, for a search of CR-NAS to score on
SEARCH_FLAGS = {'stage': ('--max-images', '2'), 'operation': ('--max-images', '2', '--k', '1')}


def toy_folder(rows, key):
    """Where the chain of a row runs at a small size, relative to the repository.

    Rows that test the network of another share its folder, and so its training.

    Raises:
        ValueError: There is no such row.
    """
    row = resolve(rows, find_row(rows, key))
    return f'work_dirs/toy/{row.weights_of or row.id}'


def toy_steps(rows, key, folder, from_plain=False):
    """Write the small configs and the data of a row's chain, and list its steps.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        key (str): Id of the row.
        folder (str | Path): Where all files of the chain go, relative to the repository or not.
        from_plain (bool): See ``steps_of``. Defaults to False.

    Returns:
        list[Step]: Those of the row, at most ``RUNS`` trainings of one network. Data, checkpoints
        and patterns lie in ``folder``, and configs are copies in ``folder/configs``.

    Raises:
        ValueError: See ``steps_of``.
        FileExistsError: ``folder/data`` holds other data.
    """
    small = {name: dataclasses.replace(row, runs=min(row.runs, RUNS)) for name, row in rows.items()}
    steps = steps_of(small, key, from_plain=from_plain)
    world = ToyWorld(folder)
    formats = {
        name for step in steps if step.config for name in data_formats(load_config(step.config))
    }
    make_generated(ROOT / world.data, sorted(formats), NUM_TRAIN, NUM_VAL)
    return [world.step(step) for step in steps]


class ToyWorld:
    """Moves the files of a chain into a folder.

    Args:
        folder (str | Path): The folder, relative to the repository or not.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.data = self.folder / 'data'
        self.checkpoints = {}

    def place(self, path):
        """Return where a file of the chain lies here.

        Args:
            path (str): Of data, a result or a pattern, from the repository's root or absolute.

        Returns:
            str: ``path`` itself where it is none of these.
        """
        inside = Path(path)
        if ROOT in inside.parents:
            inside = inside.relative_to(ROOT)
        if inside.as_posix() in self.checkpoints:
            return self.checkpoints[inside.as_posix()]
        first, *rest = inside.parts or ('',)
        if first == 'data' and rest:
            inside = self.data / Path(*rest)
        elif first == 'work_dirs' and rest:
            inside = self.folder / Path(*rest)
        elif first == 'configs' and 'patterns' in rest:
            inside = self.folder / 'patterns' / inside.name
        else:
            return path
        return inside.as_posix()

    def step(self, step):
        """Return a step of this chain for one of the row's, and write its config.

        Args:
            step (Step): See ``steps_of``.

        Returns:
            Step
        """
        script, *words = step.command
        options = []
        if '--cfg-options' in words:
            place = words.index('--cfg-options')
            words, options = words[:place], words[place:]
        words = [self.place(word) for word in words]
        writes = tuple(self.place(path) for path in step.writes)
        if script == SPLIT:
            if '--num' in words:
                words[words.index('--num') + 1] = str(HELD_OUT)
            # Generated data come with splits.
            return Step(step.name, (script, *words, '--overwrite'), writes=writes)
        cfg = self.config(step)
        config = self.write(cfg, step.config, options)
        words[words.index(f'configs/{step.config}')] = config
        if script == TRAIN:
            folder = Path(writes[0]).parent.as_posix()
            writes = (f'{folder}/{last_checkpoint(cfg)}',)
            self.checkpoints[step.writes[0]] = writes[0]
            words = words if '--work-dir' in words else [*words, '--work-dir', folder]
        elif script == TEST:
            words += ['--work-dir', test_folder((script, *words))]
        elif words[0] in SEARCH_FLAGS:
            folder = Path(writes[0]).parent.as_posix()
            words += [*SEARCH_FLAGS[words[0]], '--work-dir', f'{folder}/search']
        return Step(step.name, (script, *words), (ROOT / config).as_posix(), writes)

    def write(self, cfg, name, options):
        """Write a small config; return where. Equal configs with equal options are one file."""
        mark = f'-{zlib.crc32(" ".join(options).encode()):08x}' if options else ''
        path = self.folder / 'configs' / Path(name).parent / f'{Path(name).stem}{mark}.py'
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        cfg.dump(ROOT / path)
        return path.as_posix()

    def config(self, step):
        """The small config of a step, with the files of this chain."""
        cfg = config_of(step)
        for node in config_nodes(cfg._cfg_dict):
            for key, value in node.items():
                if isinstance(value, str) and not value.startswith('data/'):
                    node[key] = self.place(value)
        cfg = trial_config(cfg, self.data.as_posix(), num_train=NUM_TRAIN)
        cfg.optim_wrapper.optimizer.lr *= LR_FACTOR
        return cfg
