"""Rows of a benchmark: as a table on the screen, and as JSON for whoever keeps them."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def versions(*packages: str) -> str:
    """Versions of what was measured, ``torch 2.13.0, e3nn 0.6.0, Python 3.11.7``; packages that are absent are left
    out."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.insert(-1, f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as a JSON array, one object for each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def markdown_table(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> str:
    """Return the rows as a table; ``columns`` gives each key's format, as ``{"ratio": ".1f"}``."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = ("" if row.get(key) is None else format(row[key], form) for key, form in columns.items())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
