"""Trajectories and logs that grow frame by frame as FILE.partial, and take their name when they are whole.

A run that goes on cuts them where its checkpoint was, and appends.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import ase.io
from ase import Atoms
from ase.calculators.calculator import all_properties

from equinet.errors import InputError
from equinet.files import WriteError, check_output, commit

TRAJECTORY_SUFFIXES = (".extxyz", ".xyz", ".traj")


class Appender:
    """A file that grows.

    Attributes:
        position: how far it is: bytes, or frames of a .traj file.
    """

    position: int = 0

    def __init__(self, partial: Path) -> None:
        self.partial = partial

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        """What the system says of a disk, as an error of ours.

        Raises:
            WriteError: it says something.
        """
        try:
            yield
        except OSError as error:
            raise WriteError(
                f"cannot write {self.partial}: {error.strerror or error}; what was written before is kept; make "
                "room and go on with --resume"
            ) from error


class TextAppender(Appender):
    """Appends text, each piece whole or not at all."""

    def __init__(self, partial: Path, handle: BinaryIO) -> None:
        super().__init__(partial)
        self._handle = handle
        self.position = handle.tell()

    def write(self, text: str) -> None:
        """Append.

        Raises:
            WriteError: the disk is full, for instance; the file ends where it did before.
        """
        content = text.encode()
        with self.failures_named():
            try:
                rest = memoryview(content)
                while rest:  # the system may take a part, and complain of the next
                    rest = rest[self._handle.write(rest) :]
            except OSError:
                with suppress(OSError):
                    self._handle.truncate(self.position)
                raise
        self.position += len(content)


class TrajAppender(Appender):
    """Appends frames to ASE's own format."""

    def __init__(self, partial: Path, at: int) -> None:
        super().__init__(partial)
        if at:
            _cut_traj(partial, at)
        self._trajectory = ase.io.Trajectory(partial, "a" if at else "w")
        self.position = at

    def write(self, frame: Atoms) -> None:
        """Append.

        Raises:
            WriteError: the disk is full, for instance.
        """
        with self.failures_named():
            self._trajectory.write(frame)
        self.position += 1

    def close(self) -> None:
        """No more frames."""
        with suppress(OSError):  # of a full disk, which was said
            self._trajectory.close()


class FrameWriter:
    """Called with a frame, appends it.

    Attributes:
        position: see :class:`Appender`; 0 where there is no file.
    """

    def __init__(self, append: Callable[[Atoms], None], appender: Appender | None) -> None:
        self._append, self._appender = append, appender

    def __call__(self, frame: Atoms) -> None:
        """Append."""
        self._append(frame)

    @property
    def position(self) -> int:
        """How far the file is."""
        return 0 if self._appender is None else self._appender.position


@contextmanager
def trajectory_writer(path: Path | None, at: int = 0) -> Iterator[FrameWriter]:
    """Gives a function that appends a frame to an .extxyz, .xyz or .traj file; with None it does nothing.

    Every frame is flushed when it is written. At the end, after an exception too, the frames written so far
    become `path`; without any, `path` is left alone.

    Args:
        path: of the finished file.
        at: position of an earlier run, where this one goes on.

    Raises:
        InputError: there is no such earlier file.
        WriteError: a frame could not be written.
    """
    if path is None:
        yield FrameWriter(lambda frame: None, None)
        return
    check_output(path, TRAJECTORY_SUFFIXES)
    partial = _partial(path)
    if at:
        _take_up(path, partial)
    writer: FrameWriter | None = None
    try:
        if path.suffix == ".traj":
            frames = TrajAppender(partial, at)
            try:
                writer = FrameWriter(frames.write, frames)
                yield writer
            finally:
                frames.close()
        else:
            with _opened(partial, at) as text:
                writer = FrameWriter(lambda frame: text.write(frame_text(frame)), text)
                yield writer
    finally:
        if writer is not None and writer.position:
            commit(partial, path)
        else:
            partial.unlink(missing_ok=True)


class RowWriter:
    """Called with numbers, appends them as a line.

    Attributes:
        position: see :class:`Appender`; 0 where there is no file.
    """

    def __init__(self, text: TextAppender | None) -> None:
        self._text = text

    def __call__(self, row: tuple[float, ...]) -> None:
        """Append."""
        if self._text is not None:
            self._text.write(",".join(repr(float(value)) for value in row) + "\n")

    @property
    def position(self) -> int:
        """How far the file is."""
        return 0 if self._text is None else self._text.position


@contextmanager
def table_writer(path: Path | None, columns: tuple[str, ...], at: int = 0) -> Iterator[RowWriter]:
    """Gives a function that appends a line of numbers to a CSV file; with None it does nothing.

    As with trajectories, lines written before an exception are kept, and a run can go on.
    """
    if path is None:
        yield RowWriter(None)
        return
    check_output(path)
    partial = _partial(path)
    if at:
        _take_up(path, partial)
    try:
        with _opened(partial, at) as text:
            if not at:
                text.write(",".join(columns) + "\n")
            yield RowWriter(text)
    finally:
        commit(partial, path)


def frame_text(frame: Atoms) -> str:
    """A structure as extended XYZ."""
    from io import StringIO

    text = StringIO()
    ase.io.write(text, frame, format="extxyz")
    return text.getvalue()


def without_results(atoms: Atoms) -> Atoms:
    """A copy without calculator, and without info and arrays named like a calculator's results."""
    bare = atoms.copy()
    for name in all_properties:
        bare.info.pop(name, None)
        bare.arrays.pop(name, None)
    return bare


@contextmanager
def _opened(partial: Path, at: int) -> Iterator[TextAppender]:
    """Unbuffered, so that what was written is in the file, and what fails fails at once."""
    with partial.open("r+b" if at else "wb", buffering=0) as handle:
        if at:
            if os.fstat(handle.fileno()).st_size < at:
                raise InputError(f"{partial} is shorter than it was written; remove it, and start anew")
            handle.truncate(at)
            handle.seek(at)
        yield TextAppender(partial, handle)


def _take_up(path: Path, partial: Path) -> None:
    """The file of an earlier run: as it was killed, or as it was interrupted or ended."""
    if not partial.is_file():
        if not path.is_file():
            raise InputError(f"there is no {path}, nor {partial.name}, to go on with; start anew without --resume")
        os.replace(path, partial)


def _cut_traj(partial: Path, frames: int) -> None:
    """Leave the first frames alone; the format has its index within, and cannot be cut as text can."""
    whole = partial.with_name(partial.name + ".cut")
    with ase.io.Trajectory(partial) as old, ase.io.Trajectory(whole, "w") as new:
        if len(old) < frames:
            raise InputError(f"{partial} is shorter than it was written; remove it, and start anew")
        for number in range(frames):
            new.write(old[number])
    os.replace(whole, partial)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
