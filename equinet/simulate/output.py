"""Trajectories and logs that grow frame by frame as FILE.partial, and take their name when they are whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.calculator import all_properties

from equinet.files import check_output, commit

TRAJECTORY_SUFFIXES = (".extxyz", ".xyz", ".traj")


@contextmanager
def trajectory_writer(path: Path | None) -> Iterator[Callable[[Atoms], None]]:
    """Gives a function that appends a frame to an .extxyz, .xyz or .traj file; with None it does nothing.

    Every frame is flushed when it is written. At the end, after an exception too, the frames written so far
    become `path`; without any, `path` is left alone.
    """
    if path is None:
        yield lambda frame: None
        return
    check_output(path, TRAJECTORY_SUFFIXES)
    partial = _partial(path)
    written = 0

    def count() -> None:
        nonlocal written
        written += 1

    try:
        if path.suffix == ".traj":
            with ase.io.Trajectory(partial, "w") as trajectory:  # flushes by itself

                def append(frame: Atoms) -> None:
                    trajectory.write(frame)
                    count()

                yield append
        else:
            with partial.open("w", encoding="utf-8") as handle:

                def append(frame: Atoms) -> None:
                    ase.io.write(handle, frame, format="extxyz")
                    handle.flush()
                    count()

                yield append
    finally:
        if written:
            commit(partial, path)
        else:
            partial.unlink(missing_ok=True)


@contextmanager
def table_writer(path: Path | None, columns: tuple[str, ...]) -> Iterator[Callable[[tuple[float, ...]], None]]:
    """Gives a function that appends a line of numbers to a CSV file; with None it does nothing.

    As with trajectories, lines written before an exception are kept.
    """
    if path is None:
        yield lambda row: None
        return
    check_output(path)
    partial = _partial(path)
    try:
        with partial.open("w", encoding="utf-8") as handle:
            handle.write(",".join(columns) + "\n")

            def append(row: tuple[float, ...]) -> None:
                handle.write(",".join(repr(float(value)) for value in row) + "\n")

            yield append
    finally:
        commit(partial, path)


def without_results(atoms: Atoms) -> Atoms:
    """A copy without calculator, and without info and arrays named like a calculator's results."""
    bare = atoms.copy()
    for name in all_properties:
        bare.info.pop(name, None)
        bare.arrays.pop(name, None)
    return bare


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
