"""Printed results beside measured ones."""

import html
from numbers import Real

from mmic.engine.rows import PAPERS, find_row, resolve
from mmic.files import BadFileError, read_json
from mmic.pattern import is_integer

COLUMNS = ('row', 'network', 'paper', "paper's baseline", 'measured here', 'its baseline, measured')


def read_results(path, rows):
    """Read measured results: ``{row id: {metric: number}}``, in the papers' units.

    A metric may have its standard deviation behind it, ``METRIC_std``. Of CR-NAS's searches
    ``stages`` and ``operations`` are lists.

    Raises:
        BadFileError: Not of that form, or a row or metric that the table does not have.
    """
    content = read_json(path)
    metrics = {name for row in rows.values() for name in (*row.metrics, *row.delta)}
    metrics |= {f'{name}_std' for name in metrics if not name.endswith('_std')}
    codes = {name for row in rows.values() for name in row.architecture}
    if not isinstance(content, dict):
        raise BadFileError(f'{path}: expected results by row id, got {type(content).__name__}.')
    for key, values in content.items():
        try:
            find_row(rows, key)
        except ValueError as error:
            raise BadFileError(f'{path}: {error}') from None
        if not isinstance(values, dict):
            raise BadFileError(f'{path}: {key}: expected numbers by metric, got {values!r}.')
        for name, value in values.items():
            if name in codes:
                if not isinstance(value, list) or not all(map(is_integer, value)):
                    raise BadFileError(
                        f'{path}: {key}: {name}: expected whole numbers, got {value!r}.'
                    )
                continue
            if name not in metrics:
                known = sorted(metrics | codes)
                raise BadFileError(f'{path}: {key}: no metric {name!r}; known: {known}.')
            if isinstance(value, bool) or not isinstance(value, Real):
                raise BadFileError(f'{path}: {key}: {name}: expected a number, got {value!r}.')
    return content


def measured_values(rows, results, row):
    """Return what ``results`` has of a row, or of the row that it is the same as; else ``{}``."""
    return results.get(row.id) or results.get(resolve(rows, row).id) or {}


def report_lines(rows, results, paper):
    """The report's lines of one paper, each with an entry for each of ``COLUMNS``."""

    def measured(row):
        values = measured_values(rows, results, row)
        return ', '.join(f'{name} {value}' for name, value in values.items())

    lines = []
    for row in rows.values():
        if row.paper == paper and not row.not_run:
            base = rows[row.baseline] if row.baseline else None
            ends = (
                (base.printed(), measured(row), measured(base)) if base else ('', measured(row), '')
            )
            lines.append((row.id, row.network, row.printed(), *ends))
    return lines


def report_markdown(rows, results):
    """The report as Markdown."""
    parts = []
    for paper in PAPERS:
        lines = [COLUMNS, ['---'] * len(COLUMNS), *report_lines(rows, results, paper)]
        table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
        parts.append(f'## {paper}\n\n{table}\n')
    return '# Printed and measured results\n\n' + '\n'.join(parts)


def report_html(rows, results):
    """The report as a page of HTML."""

    def line(entries, tag):
        cells = ''.join(f'<{tag}>{html.escape(entry)}</{tag}>' for entry in entries)
        return f'<tr>{cells}</tr>\n'

    title = 'Printed and measured results'
    text = f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n'
    for paper in PAPERS:
        body = ''.join(line(entries, 'td') for entries in report_lines(rows, results, paper))
        text += f'<h2>{paper}</h2>\n<table border="1">\n{line(COLUMNS, "th")}{body}</table>\n'
    return text
