"""The page on imports is complete: every format and every repair has its row, in order."""

import re
from pathlib import Path

from palaver.travel.base import RepairKind
from palaver.travel.detect import FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "import.md"


def rows(title: str) -> list[str]:
    """What stands in the first column of the section's table."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_every_format_has_its_row_in_the_order_in_which_it_is_tried() -> None:
    """Nothing is missing, nothing is invented."""
    assert rows("Formats") == list(FORMATS)


def test_every_repair_is_explained() -> None:
    """The same for what is mended."""
    assert rows("Repairs") == [str(kind) for kind in RepairKind]


def test_the_table_of_repairs_names_what_exists() -> None:
    """Formats and repairs of the measured table are real ones."""
    assert set(rows("What was repaired where")) <= set(FORMATS)
