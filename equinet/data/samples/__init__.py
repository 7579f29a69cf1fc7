"""Reference data that ship with the package: ``glycol`` (flexible molecule), ``silicon`` (strained crystal).

Provenance, level of theory and the meaning of each split stand in the README beside the files. Splits are by
whole trajectory, never by frame.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from equinet.errors import InputError

NAMES = ("glycol", "silicon")

_FOLDER = Path(__file__).parent


def splits(name: str) -> tuple[str, ...]:
    """Return the names of a sample's splits.

    Raises:
        InputError: no sample of this name.
    """
    if name not in NAMES:
        raise InputError(f"no sample named {name!r}; {_nearest(name, NAMES)}")
    return tuple(sorted(file.name.split(".")[0].removeprefix(f"{name}_") for file in _files(name)))


def path(name: str, split: str) -> Path:
    """Return the file of one split of a sample.

    Args:
        name: one of NAMES.
        split: "train", "val", "test", or another that :func:`splits` lists.

    Raises:
        InputError: no such sample or split; the message names the nearest.
    """
    there = splits(name)
    if split not in there:
        raise InputError(f"the sample {name!r} has no split {split!r}; {_nearest(split, there)}")
    return next(file for file in _files(name) if file.name.split(".")[0] == f"{name}_{split}")


def _files(name: str) -> list[Path]:
    return [file for file in _FOLDER.glob(f"{name}_*") if ".extxyz" in file.suffixes]


def _nearest(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}there are: {', '.join(words)}"
