"""Compare trained detectors: what they score and what they cost."""

import json
from pathlib import Path

from mmengine.analysis import get_model_complexity_info

# Title to the name in CocoMetric's results.
METRICS = {'AP': 'mAP', 'AP50': 'mAP_50', 'AP_S': 'mAP_s', 'AP_M': 'mAP_m', 'AP_L': 'mAP_l'}


def read_metrics(work_dir):
    """Read the last COCO evaluation that mmengine's Runner logged under a folder.

    Args:
        work_dir (str | Path): The work dir of the training.

    Returns:
        dict[str, float | None]: AP, AP50, AP_S, AP_M, AP_L in percent; None where the
        validation set has no object of that size.

    Raises:
        FileNotFoundError: No log of scalars is there.
        ValueError: The newest log holds no evaluation.
    """
    # The folders are named by the time of the start.
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{work_dir} holds no */vis_data/scalars.json of a training.')
    for line in reversed(files[-1].read_text().splitlines()):
        scalars = json.loads(line)
        if 'coco/bbox_mAP' in scalars:
            values = {name: scalars[f'coco/bbox_{key}'] for name, key in METRICS.items()}
            # -1 is COCO's value where there is nothing to find.
            return {
                name: round(100 * value, 1) if value >= 0 else None
                for name, value in values.items()
            }
    raise ValueError(f'{files[-1]} holds no coco/bbox_mAP: the training evaluated nothing.')


def measure_cost(model, image_size):
    """Count parameters and multiply-adds, the latter by mmengine from the operations run.

    Args:
        model (nn.Module): A detector with a ``backbone``.
        image_size (int): Side of a square image in pixels.

    Returns:
        dict[str, int]: ``params`` of the detector; ``backbone MACs`` of its backbone on one
        image: the work of the heads depends on what is in the image.
    """
    model.eval()
    shape = (3, image_size, image_size)
    counted = get_model_complexity_info(model.backbone, shape, show_table=False, show_arch=False)
    return {
        'params': sum(parameter.numel() for parameter in model.parameters()),
        'backbone MACs': int(counted['flops']),
    }


def cell(column, value):
    """Return a value of the comparison as text."""
    if value is None:
        return '-'
    if column == 'params':
        return f'{value / 1e6:.2f} M'
    if column == 'backbone MACs':
        return f'{value / 1e6:.0f} M'
    return f'{value:.0f}' if column == 'seconds' else f'{value:.1f}'


def comparison_rows(results):
    """Return the rows of a table, the header first.

    Args:
        results (dict[str, dict]): Network to column to value.

    Returns:
        list[list[str]]
    """
    rows = [['network', *next(iter(results.values()))]]
    for name, values in results.items():
        rows.append([name, *(cell(column, value) for column, value in values.items())])
    return rows


def markdown_table(rows):
    """Return rows of text, the header first, as a Markdown table."""
    lines = [rows[0], ['---'] + ['---:'] * (len(rows[0]) - 1), *rows[1:]]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
