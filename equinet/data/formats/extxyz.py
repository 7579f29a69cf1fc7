"""Extended XYZ, frame by frame: a file of any size, compressed or not, is read once from front to back.

ASE reads each frame. Handed the whole file it would first search for all frames and seek back, which in a compressed
file means decompressing from the start each time.
"""

from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import IO

from ase import Atoms
from ase.io.extxyz import read_xyz
from ase.io.formats import open_with_compression

from equinet.data.formats.options import FormatOptions
from equinet.errors import InputError


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures from frame ``start`` on; frames before it are passed over without being parsed.

    Raises:
        InputError: a blank line between frames.
    """
    with open_with_compression(str(path), "rt") as file:
        for text in islice(_frames(file, path), start, None):
            yield from read_xyz(StringIO(text), index=0)


def _frames(file: IO[str], path: Path) -> Iterator[str]:
    """The text of each frame."""
    line, frame = file.readline(), 0
    while line:
        if not line.strip():  # ASE takes a blank line for the end of the file and drops the rest without a word
            if any(rest.strip() for rest in file):
                raise InputError(
                    f"{path}: a blank line follows frame {frame - 1}, and more text after it; "
                    "remove blank lines between frames"
                )
            return
        lines = [line]
        if line.strip().isdecimal():  # anything else is for ASE to complain about
            lines += islice(file, int(line) + 1)
        line = file.readline()
        while line.lstrip().startswith("VEC"):
            lines.append(line)
            line = file.readline()
        yield "".join(lines)
        frame += 1
