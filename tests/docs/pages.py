"""Read the documentation's tables, so that tests can hold them against the code."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"`([^`]+)`")
CELL_END = re.compile(r"(?<!\\)\|")


def documents() -> list[Path]:
    """Return the README and the pages below docs/."""
    return [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def tables_of(page: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each table of a page: the first word of its header, and the cells of its rows."""
    rows: list[list[str]] = []
    for line in [*text_of(page).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in CELL_END.split(line.strip().strip("|"))])
        elif rows:
            yield rows[0][0], rows[2:]
            rows = []


def rows_of(page: str, header: str) -> list[list[str]]:
    """Return the rows of all tables of a page whose first column has this header."""
    found = [rows for first, rows in tables_of(page) if first == header]
    assert found, f"{page} has no table of {header}"
    return [row for rows in found for row in rows]


def codes_in(cell: str) -> list[str]:
    """Return what a cell has in code type."""
    return CODE.findall(cell)
