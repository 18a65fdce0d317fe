"""Print tables of which nothing is cut off, however narrow the terminal is."""

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segments
from rich.table import Table


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as its columns need.

    On a terminal, columns that may be wrapped get as narrow as it takes; rows that are wider
    even so go on in the next line of the terminal. In a file the table has its full width.

    Args:
        console (rich.console.Console): Where to print it.
        table (rich.table.Table): Columns to be kept in one piece are ``no_wrap``.
    """
    options = console.options.update(max_width=10_000)
    for column in table.columns:
        if column.no_wrap:
            cells = [column.header, *column.cells]
            widths = [Measurement.get(console, options, cell).maximum for cell in cells]
            column.min_width = max(widths)
    needed = Measurement.get(console, options, table)
    width = max(needed.minimum, console.width) if console.is_terminal else needed.maximum
    # print() itself takes no width above the console's.
    rendered = console.render(table, options.update(width=width))
    console.print(Segments(rendered), crop=False)
