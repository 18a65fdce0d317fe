"""What a benchmark measures: a table of medians, and its ratios to one of the rows."""

import math
from typing import Dict, List, NamedTuple, Union


class Measured(NamedTuple):
    """Medians of one kind.

    Attributes:
        name (str): ``'layers: forward'`` for example.
        base (str): The row that the others are divided by.
        unit (str): ``'s'`` or ``'bytes'``.
        columns (list[str]): Of a row's values.
        rows (dict[str, list[float | str]]): Medians by the row's name; a string tells why there
            is none.
    """

    name: str
    base: str
    unit: str
    columns: List[str]
    rows: Dict[str, List[Union[float, str]]]

    def ratio(self, row, against=None):
        """Geometric mean over the columns of a row's values divided by another row's.

        Args:
            row (str): Name of the row.
            against (str, optional): Name of the other. Defaults to None: ``base``.

        Returns:
            float | None: None where one is missing.
        """
        pairs = list(zip(self.rows.get(row, ['']), self.rows.get(against or self.base, [''])))
        if any(isinstance(value, str) for pair in pairs for value in pair):
            return None
        return math.prod(value / base for value, base in pairs) ** (1 / len(pairs))

    def header(self):
        """Titles of the columns of ``cells``."""
        last = 'ratio' if len(self.columns) == 1 else 'geometric mean'
        return [self.name.partition(': ')[2], *self.columns, last]

    def cells(self):
        """The table as it is printed: ratios, or values beside them if there is one column.

        Returns:
            list[list[str]]: Rows, their names first.
        """
        lines = []
        for name, values in self.rows.items():
            shown = []
            for value, base in zip(values, self.rows[self.base]):
                if isinstance(value, str):
                    shown.append(value)
                elif len(self.columns) == 1:
                    shown.append(with_unit(value, self.unit))
                else:
                    shown.append(f'{value / base:.2f}')
            mean = self.ratio(name)
            lines.append([name, *shown, '' if mean is None else f'{mean:.2f}'])
        return lines


def with_unit(value, unit):
    """Write seconds or bytes as they are read: ``'84.0 ms'``, ``'12.5 MiB'``."""
    if unit == 'bytes':
        return f'{value / 2**20:.1f} MiB'
    return f'{value:.2f} s' if value >= 1 else f'{value * 1e3:.1f} ms'
