"""What mmic's speed aims at, beside what was measured."""

from typing import NamedTuple, Optional

from mmic.analysis.bench_layers import MULTIPLE
from mmic.analysis.bench_search import FOR_HARDWARE
from mmic.analysis.benchmark import Setting

BLOCKS = f'IC, multiple {MULTIPLE}'


class Aim(NamedTuple):
    """A ratio that is to be reached, or a time.

    Attributes:
        what (str): In words.
        aim (float): The ratio, or seconds.
        table (str): Where it is measured.
        row (str): Whose geometric mean over the columns it is.
        against (str, optional): The row that it is divided by; None: the table's base.
        device (str, optional): Where the aim holds; None: everywhere.
        dtype (str, optional): In which dtype; None: in all.
        absolute (bool): Whether the aim is seconds.
    """

    what: str
    aim: float
    table: str
    row: str
    against: Optional[str] = None
    device: Optional[str] = 'cpu'
    dtype: Optional[str] = 'float32'
    absolute: bool = False


FORWARD, BOTH = 'layers: forward', 'layers: forward + backward'
GPU = {'device': 'cuda', 'dtype': 'bfloat16'}
ANYWHERE = {'device': None, 'dtype': None}
AIMS = [
    Aim('IC-Conv, inference, after fuse', 1.4, FORWARD, 'IC, fused'),
    Aim(f'IC-Conv, inference, multiple {MULTIPLE}', 1.1, FORWARD, f'{BLOCKS}, fused'),
    Aim('IC-Conv, forward + backward', 1.4, BOTH, 'IC'),
    Aim(f'IC-Conv, forward + backward, multiple {MULTIPLE}', 1.15, BOTH, BLOCKS),
    Aim('PSConv, inference, after fuse', 1.15, FORWARD, 'PS, block form, fused'),
    Aim('PSConv, forward + backward', 1.15, BOTH, 'PS, block form'),
    Aim('DO-Conv, forward + backward', 1.1, BOTH, 'DO'),
    Aim('DO-Conv, inference, after fuse', 1.0, FORWARD, 'DO, fused'),
    Aim('IC-ResNet-50, inference, after fuse', 1.05, 'backbones: forward, fused', 'IC'),
    Aim('NATS, auto against features, time', 0.7, 'nats: forward + backward', 'auto', 'features'),
    Aim('NATS, auto against features, kept', 0.35, 'nats: kept for backward', 'auto', 'features'),
    Aim('IC-ResNet-50, training step, peak memory', 1.1, 'train: peak memory', 'IC', **ANYWHERE),
    Aim('PS-ResNet-50, training step, peak memory', 1.1, 'train: peak memory', 'PS', **ANYWHERE),
    Aim('EDO for hardware, ResNet-101', 60, 'search: for hardware', FOR_HARDWARE, absolute=True),
    Aim('IC-Conv, CUDA, bfloat16, forward', 1.1, FORWARD, 'IC', **GPU),
    Aim('IC-Conv, CUDA, bfloat16, forward + backward', 1.25, BOTH, 'IC', **GPU),
    Aim('PSConv, CUDA, bfloat16, forward', 1.1, FORWARD, 'PS, block form', **GPU),
    Aim('PSConv, CUDA, bfloat16, forward + backward', 1.25, BOTH, 'PS, block form', **GPU),
]
AIM_HEADER = ['aim', 'at most', 'measured', 'reached']


def measure(aim, tables, setting):
    """Find what was measured of an aim.

    Args:
        aim (Aim): The aim.
        tables (list[Measured]): Of one run.
        setting (Setting): What it ran on.

    Returns:
        float | None: None where it was not measured, or on another device, in another dtype or
        layout, at another image size or with other layers than the aim is for.
    """
    usual = Setting()
    shapes = 'layout', 'image', 'shape', 'groups'
    if any(getattr(setting, name) != getattr(usual, name) for name in shapes):
        return None
    if aim.device not in (None, setting.device) or aim.dtype not in (None, setting.dtype):
        return None
    for table in tables:
        if table.name == aim.table:
            if aim.absolute:
                return table.rows[aim.row][0]
            return table.ratio(aim.row, aim.against)
    return None


def aim_cells(tables, setting):
    """The aims as they are printed, under ``AIM_HEADER``.

    Args:
        tables, setting: See ``measure``.

    Returns:
        list[list[str]]: What it is, aim, measured, and whether it is reached, as printed.
    """
    lines = []
    for aim in AIMS:
        found = measure(aim, tables, setting)
        digits, unit = (0, ' s') if aim.absolute else (2, '')
        line = [aim.what, f'{aim.aim:.{digits}f}{unit}']
        if found is None:
            lines.append([*line, 'not measured', ''])
        else:
            reached = round(found, 2) <= aim.aim
            lines.append([*line, f'{found:.2f}{unit}', 'yes' if reached else 'no'])
    return lines
