"""Output that grows for hours and survives a kill: FILE.partial, and beside it a journal of what is safe in it.

The journal is JSON, one value a line: first what the output is of, then, after each batch, where the next one begins in
the input and how many bytes of the output are whole. What a kill left half written after that is cut off, and the work
goes on there. The file takes its name when it is finished.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from equinet.errors import InputError
from equinet.files import WriteError, check_output, commit, sync


@dataclass(frozen=True)
class Position:
    """How far the output is.

    Attributes:
        input: number of the input that comes next.
        frame: number of its frame that comes next.
        written: structures in the output.
        left_out: structures that were passed over.
        bytes: length of the output.
        unfinished: structures in the output that did not come to their end, of work that has one.
    """

    input: int = 0
    frame: int = 0
    written: int = 0
    left_out: int = 0
    bytes: int = 0
    unfinished: int = 0


class PartialOutput:
    """A context in which an output grows; left by an exception, what is whole stays, to go on with.

    Args:
        path: of the finished file.
        identity: of what the output is made: named values, JSON-able, which must be the same to go on.
        resume: go on with what is there; a new output begins where nothing is.

    Raises:
        InputError: the file cannot be written; an unfinished output is there that is of something else, that was not
            asked for or that has lost its journal; a finished one, to go on with.
    """

    def __init__(self, path: Path, identity: dict[str, Any], resume: bool) -> None:
        check_output(path)
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.journal = path.with_name(path.name + ".partial.json")
        self.settings: dict[str, Any] | None = None  # what was decided when the output began
        self.position = Position()
        self._identity = identity
        if self.partial.exists() and not self.journal.is_file():
            raise InputError(
                f"{self.partial} is there without {self.journal.name}, which says how much of it is whole; rename it "
                "to keep it, or remove it, and start anew"
            )
        if resume and path.exists() and not self.partial.exists():
            raise InputError(
                f"{path} is finished, and there is no {self.partial.name} to go on with; to compute it anew, leave out "
                "--resume"
            )
        lines = self._lines()
        if len(lines) > 2 and not resume:
            raise InputError(
                f"{self.partial} is of a run that was interrupted after {lines[-1]['written']} structures; go on with "
                "it (--resume), or remove it"
            )
        if len(lines) > 2:
            self._take_over(lines)
        self._file: BinaryIO | None = None

    def begin(self, settings: dict[str, Any]) -> None:
        """Start, or go on.

        Args:
            settings: kept for a run that goes on; not looked at in one.

        Raises:
            WriteError: the files cannot be made.
        """
        with self._failures_named():
            if self.settings is None:
                self.settings = settings
                self.journal.write_text("".join(json.dumps(line) + "\n" for line in (self._identity, settings)))
                self.partial.write_bytes(b"")
            self._file = self.partial.open("r+b")
            self._file.truncate(self.position.bytes)
            self._file.seek(self.position.bytes)

    def append(self, text: str, input: int, frame: int, written: int, left_out: int, unfinished: int = 0) -> None:
        """Add structures.

        Args:
            text: of them.
            input: number of the input that comes next.
            frame: number of its frame that comes next.
            written: structures that the text has.
            left_out: structures that were passed over, in all.
            unfinished: structures in the output that did not come to their end, in all.

        Raises:
            WriteError: the disk is full, for instance; what was appended before stays.
        """
        assert self._file is not None
        content, before = text.encode(), self.position
        after = Position(input, frame, before.written + written, left_out, before.bytes + len(content), unfinished)
        with self._failures_named():
            self._file.write(content)
            self._file.flush()
            sync(self.partial)  # before the journal says so
            with self.journal.open("a") as journal:
                journal.write(json.dumps(asdict(after)) + "\n")
        self.position = after

    def finish(self, left_out: int) -> None:
        """Nothing more comes.

        Args:
            left_out: structures that were passed over, in all; some may come after the last that was written.

        Raises:
            InputError: nothing came at all.
        """
        if not self.position.written:
            why = f"all structures were left out ({left_out})" if left_out else "there are no structures"
            raise InputError(f"{self.path} is not written: {why}")
        self.position = replace(self.position, left_out=left_out)

    def __enter__(self) -> "PartialOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # of a full disk, which was said
                self._file.close()
        if kind is None:
            commit(self.partial, self.path)
        elif self.position.written:
            assert error is not None
            error.add_note(f"--resume goes on after the {self.position.written} done")
            return
        self.partial.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(f"cannot write {self.partial}: {error.strerror or error}; make room") from error

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines of a journal that is there."""
        if not self.journal.is_file() or not self.partial.is_file():
            return []
        text = self.journal.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            os.truncate(self.journal, len(whole.encode()))
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            raise InputError(f"{self.journal} is damaged; remove it and {self.partial}, and start anew") from None

    def _take_over(self, lines: list[dict[str, Any]]) -> None:
        identity, self.settings, *positions = lines
        for name, value in self._identity.items():
            if identity.get(name) != value:
                raise InputError(
                    f"{self.partial} was begun with another {name} ({_short(identity.get(name))}, now "
                    f"{_short(value)}); give what it was begun with, or remove it"
                )
        self.position = Position(**positions[-1])
        if self.partial.stat().st_size < self.position.bytes:
            raise InputError(f"{self.partial} is shorter than it was written; remove it, and start anew")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
