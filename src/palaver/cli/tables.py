"""Tables without lines: columns that fit, on a terminal and in a pipe."""

import shutil
import sys
from collections.abc import Sequence

from palaver.cli.safe import columns, one_line, safe

GAP = "  "


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Rows under their heads. With `width` the last column is cut to fit into that many columns."""
    cells = [[safe(cell).replace("\n", " ") for cell in row] for row in (head, *rows)]
    widths = [max(columns(row[i]) for row in cells) for i in range(len(head))]
    if width is not None:
        before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
        widths[-1] = max(10, min(widths[-1], width - before))
    return "\n".join(_line(row, widths, cut=width is not None) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int], *, cut: bool) -> str:
    *first, last = row
    padded = [cell + " " * (w - columns(cell)) for cell, w in zip(first, widths, strict=False)]
    return GAP.join([*padded, one_line(last, widths[-1]) if cut else last]).rstrip()


def terminal_width() -> int | None:
    """Columns of the terminal; None in a pipe, where nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def age(seconds: float) -> str:
    """How long ago something was, in one unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "now"
