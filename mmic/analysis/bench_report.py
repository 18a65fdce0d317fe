"""Where and when a benchmark ran, and its tables on the screen, as JSON and as Markdown."""

import datetime
import json
import platform
import re
from pathlib import Path

import torch
from rich.table import Table

from mmic.analysis.bench_aims import AIM_HEADER, aim_cells


def describe(setting, command, pattern=None):
    """Say where, when and on what a benchmark runs.

    Args:
        setting (Setting): What it runs on.
        command (str): The command that was given.
        pattern (str, optional): The pattern file. Defaults to None: a generated pattern.

    Returns:
        dict[str, str | int]
    """
    return {
        'date': datetime.date.today().isoformat(),
        'machine': machine(setting.device),
        'torch': torch.__version__,
        'threads': torch.get_num_threads(),
        **setting._asdict(),
        'pattern': Path(pattern).name if pattern else 'generated',
        'command': command,
    }


def machine(device):
    """Name of the processor or the GPU."""
    if device == 'cuda':
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    found = re.search(r'^model name\s*:\s*(.+)$', info.read_text(), re.M) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def printed(table):
    """Title, header and lines of what was measured.

    Returns:
        tuple[str, list[str], list[list[str]]]
    """
    return f'{table.name}, as a ratio to {table.base!r}', table.header(), table.cells()


def printed_aims(tables, setting):
    """Title, header and lines of the aims, see ``aim_cells``."""
    return 'Aims', AIM_HEADER, aim_cells(tables, setting)


def screen_table(title, header, lines):
    """A table for the terminal."""
    table = Table(title=title)
    for number, text in enumerate(header):
        table.add_column(text, justify='right' if number else 'left', no_wrap=not number)
    for line in lines:
        table.add_row(*line)
    return table


def to_json(where, tables):
    """All medians of a run, in seconds and bytes, and where it ran."""
    content = {'environment': where, 'tables': [table._asdict() for table in tables]}
    return json.dumps(content, indent=1) + '\n'


def to_markdown(where, tables, setting):
    """The tables as ``docs/benchmarks.md`` has them, under the date and the machine."""
    day = datetime.date.fromisoformat(where['date'])
    parts = [
        f'## {day.day} {day:%B %Y}, {where["machine"]}, {where["threads"]} threads, torch '
        f'{where["torch"]}, {where["dtype"]}, {where["device"]}\n',
        f'`{where["command"]}`: {where["layout"]}, medians of {where["repeats"]} rounds; '
        f'pattern: {where["pattern"]}.\n',
    ]
    for title, header, lines in [printed_aims(tables, setting), *map(printed, tables)]:
        rows = [header, ['---'] * len(header), *lines]
        parts.append(f'### {title}\n')
        parts.append('\n'.join(f'| {" | ".join(row)} |' for row in rows) + '\n')
    return '\n'.join(parts)
