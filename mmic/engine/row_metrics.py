"""What the tests and trainings of a row measured, in the papers' names and units."""

import json
import statistics
from pathlib import Path

from mmic.engine.reproduce import PRETRAIN
from mmic.engine.scalars import read_scalars
from mmic.pattern import DilationPattern

SIZES = {'mAP': 'AP', 'mAP_50': 'AP50', 'mAP_75': 'AP75'}
SIZES.update({f'mAP_{size}': f'AP{size}' for size in 'sml'})
# Name in the four packages to name in the table of results.
FRACTIONS = {
    **{f'coco/bbox_{name}': f'box_{ours}' for name, ours in SIZES.items()},
    **{f'coco/segm_{name}': f'mask_{ours}' for name, ours in SIZES.items()},
    'pascal_voc/AP50': 'voc_AP50',
    'crowd_human/mAP': 'box_AP',
    'crowd_human/Recall': 'recall',
    'crowd_human/mMR': 'MR_minus2',
    'coco/AP': 'kpt_AP',
    'coco/AP .5': 'kpt_AP50',
    'coco/AP .75': 'kpt_AP75',
    'coco/AP (M)': 'kpt_APm',
    'coco/AP (L)': 'kpt_APl',
    'coco/AR': 'kpt_AR',
}
PERCENTAGES = {'accuracy/top1': 'top1_acc', 'accuracy/top5': 'top5_acc', 'mIoU': 'mIoU'}
LAST_EPOCHS = 5
DIGITS = 3


def paper_metrics(values):
    """Translate the metrics of a test.

    Args:
        values (dict): What mmengine logged. COCO's -1, where there is nothing to find, and all
            that the papers do not print is left out.

    Returns:
        dict[str, float]: In percent; accuracies also as errors, ``'top1_err'``.
    """
    found = {
        ours: 100 * values[name]
        for name, ours in FRACTIONS.items()
        if name in values and values[name] >= 0
    }
    found.update({ours: values[name] for name, ours in PERCENTAGES.items() if name in values})
    errors = {
        name.replace('acc', 'err'): 100 - value
        for name, value in found.items()
        if name.endswith('_acc')
    }
    return {name: round(float(value), DIGITS) for name, value in {**found, **errors}.items()}


def test_metrics(folder):
    """Read the newest test that mmengine's Runner logged below a work dir.

    Raises:
        FileNotFoundError: There is none.
    """
    # Folders and files are named by the time of the start.
    files = sorted(Path(folder).glob('*/*.json'))
    if not files:
        raise FileNotFoundError(f'{folder} holds no */*.json of a test.')
    return paper_metrics(json.loads(files[-1].read_text()))


def epoch_metrics(folder):
    """Read what a training validated, in the order of its epochs.

    Args:
        folder (str | Path): Work dir of the training, resumed or not.

    Returns:
        list[dict[str, float]]

    Raises:
        FileNotFoundError: No log of scalars is there.
        ValueError: The training validated nothing.
    """
    epochs = {}
    for record in read_scalars(folder):
        metrics = paper_metrics(record)
        if metrics:
            # An epoch that was run again after an interruption counts once.
            epochs[record['step']] = metrics
    if not epochs:
        raise ValueError(f'{folder}: the training validated nothing.')
    return [epochs[step] for step in sorted(epochs)]


def last_accuracy(folder):
    """What a training on ImageNet validated last; empty if its log is gone.

    It comes beside the row's own result, which is reported without it too.
    """
    try:
        return epoch_metrics(folder)[-1]
    except (FileNotFoundError, ValueError):
        return {}


def run_metrics(row, training, test):
    """Metrics of one run by the paper's protocol.

    DO-Conv averages the last five epochs on CIFAR, PSConv takes the best epoch on ImageNet; all
    else is the test of the last checkpoint.

    Args:
        row (Row): The printed result.
        training (str | Path): Work dir of the training.
        test (str | Path): Work dir of the test.

    Returns:
        dict[str, float]
    """
    if row.paper == 'do' and (row.dataset or '').startswith('CIFAR'):
        epochs = epoch_metrics(training)[-LAST_EPOCHS:]
        return {name: statistics.mean(epoch[name] for epoch in epochs) for name in epochs[-1]}
    if row.paper == 'ps' and row.dataset == 'ImageNet':
        return min(epoch_metrics(training), key=lambda epoch: epoch['top1_err'])
    return test_metrics(test)


def mean_metrics(runs):
    """Mean of several runs, and with ``_std`` behind the name their sample standard deviation."""
    if len(runs) == 1:
        return {name: round(value, DIGITS) for name, value in runs[0].items()}
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs if name in run]
        if len(values) < len(runs):
            continue
        found[name] = round(statistics.mean(values), DIGITS)
        found[f'{name}_std'] = round(statistics.stdev(values), DIGITS)
    return found


def found_architecture(patterns):
    """What CR-NAS's searches found, as Tables 5 and 6 print it.

    Args:
        patterns (dict[str, str | Path]): Pattern file by kind of search.

    Returns:
        dict[str, list[int]]: ``'stages'``, blocks of each, and ``'operations'``, codes of each
        block.
    """
    found = {}
    for kind, path in patterns.items():
        pattern = DilationPattern.load(path)
        if kind == 'stage':
            found['stages'] = list(pattern.stage_blocks)
        else:
            # Dilations 1, 2, 3 are codes 0, 1, 2 to the paper.
            best = pattern.meta['best'][0]['architecture']
            found['operations'] = [dilation - 1 for dilation in best]
    return found


def measured(rows, row, steps, root):
    """Collect what the finished steps of a row measured.

    Args:
        rows (dict[str, Row]): What ``read_rows`` returns.
        row (Row): One that has a config.
        steps (list[Step]): As they were run: each test with its ``--work-dir``.
        root (Path): Folder that the commands ran in.

    Returns:
        dict[str, float | list[int]]: Metrics that the row's paper prints somewhere, the mean
        where the row has several runs; of a network that was trained on ImageNet first, its
        accuracy there; and what CR-NAS's searches found.
    """
    runs, patterns, pretrained = [], {}, {}
    for step in steps:
        script, *words = step.command
        if script == 'tools/test.py':
            folder = root / words[words.index('--work-dir') + 1]
            runs.append(run_metrics(row, (root / words[1]).parent, folder))
        elif script == 'tools/cr_search.py':
            patterns[words[0]] = root / step.writes[0]
        elif step.name == PRETRAIN:
            pretrained = last_accuracy((root / step.writes[0]).parent)
    metrics = {**pretrained, **mean_metrics(runs)}
    paper = [other for other in rows.values() if other.paper == row.paper]
    printed = {name for other in paper for name in (*other.metrics, *other.delta)}
    kept = {name: value for name, value in metrics.items() if name.replace('_std', '') in printed}
    return {**kept, **(found_architecture(patterns) if row.search else {})}
