"""Files a row trains and tests on: the data folder's own, or with isolated atoms added or frames held out."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io

from benchmarks.accuracy.rows import Comparison, Row
from equinet.errors import InputError
from equinet.files import replacing


@dataclass(frozen=True)
class Files:
    """What to give to ``equinet train`` and ``equinet test``."""

    train: Path
    tests: dict[str, Path]


def prepare(row: Row, data: Path, folder: Path) -> Files:
    """Return the files of a row; those that must be made are written to ``folder``, the same every time.

    Raises:
        InputError: a file of the data folder is missing.
    """
    train, held_out = _existing(data / row.train), []
    if row.isolated is not None or row.hold_out is not None:
        frames, held_out = hold_out(_read(train), row.group, row.hold_out)
        isolated = _read(data / row.isolated) if row.isolated else []
        train = _write(folder / "train.extxyz", isolated + frames)
    return Files(train, {test.name: _test_file(test, held_out, data, folder) for test in row.tests})


def hold_out(frames: list[Any], key: str | None, share: int | None) -> tuple[list[Any], list[Any]]:
    """Split every ``share``-th frame of each group off, beginning in the middle of the first ``share`` frames.

    Returns:
        (kept, held out), each in the order given; all are kept where ``share`` is None.
    """
    if share is None:
        return frames, []
    seen: dict[str, int] = defaultdict(int)
    parts: tuple[list[Any], list[Any]] = ([], [])
    for frame in frames:
        group = str(frame.info.get(key, ""))
        parts[seen[group] % share == share // 2].append(frame)
        seen[group] += 1
    return parts


def _test_file(test: Comparison, held_out: list[Any], data: Path, folder: Path) -> Path:
    name = f"test_{test.name.replace(' ', '_')}.extxyz"
    if test.file is None:
        return _write(folder / name, held_out)
    if test.blocks is None:
        return _existing(data / test.file)
    first, end = test.blocks
    frames = [frame for frame in _read(data / test.file) if first <= int(frame.info["source_index"]) < end]
    return _write(folder / name, frames)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder of the data sets with --data")
    return path


def _read(path: Path) -> list[Any]:
    return list(ase.io.read(_existing(path), ":"))


def _write(path: Path, frames: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        ase.io.write(partial, frames, format="extxyz")
    return path
