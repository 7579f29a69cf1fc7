"""Pieces of source text."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Term = tuple[float, str]
"""A coefficient and what it multiplies."""


class Lines(list[str]):
    """Source under construction."""

    depth = 0

    def add(self, line: str) -> None:
        """Append a line at the present depth."""
        self.append("    " * self.depth + line)

    @contextmanager
    def under(self, head: str) -> Iterator[None]:
        """Indent under the line ``head`` what is added meanwhile."""
        self.add(head)
        self.depth += 1
        yield
        self.depth -= 1


def tile_columns(first_tile: int, tiles: int, width: int) -> str:
    """Expression for the columns of the present tile, if the given number of tiles cover them from a first one on."""
    if tiles == 1:
        return f"tl.arange(0, {width})"
    return f"{f'(tile - {first_tile})' if first_tile else 'tile'} * {width} + tl.arange(0, {width})"


def plus(column: int) -> str:
    """What to add to a row to come to a column."""
    return f" + {column}" if column else ""


def signed_sum(terms: Iterable[Term]) -> str:
    """``0.5 * y_1 - y_2``."""
    text = ""
    for coefficient, factor in terms:
        product = factor if abs(coefficient) == 1.0 else f"{abs(coefficient)!r} * {factor}"
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} {product}" if text else product if sign == "+" else f"-{product}"
    return text
